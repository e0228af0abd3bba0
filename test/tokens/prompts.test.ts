/**
 * Tests that prompts are read without blocking the host: in a real text worker, and in steps
 * without one.
 */
import { afterAll, describe, expect, test } from 'vitest'
import { textWorker } from '../../node/workers.ts'
import type { Message } from '../../src/base/prompt.ts'
import { Prompts } from '../../src/tokens/prompts.ts'
import type { SpawnText } from '../../src/tokens/text-messages.ts'
import { createTokenizer } from '../../src/tokens/tokenizer.ts'
import { nodeText } from '../../workers/node.ts'
import { smallSpec } from '../helpers/small-bpe.ts'

const chatml =
  "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}"
/** About a second of work, which the limits allow. */
const slow = `{% set ns = namespace(n=0) %}{% for i in range(60000) %}{% set ns.n = ns.n + 1 %}{% endfor %}${chatml}`
const endless = '{% for i in range(400000) %}{% for j in range(400000) %}{% endfor %}{% endfor %}'
const opened: Prompts[] = []
afterAll(() => {
  for (const prompts of opened) prompts.close()
})

/** Counts how often a worker is started. */
function counted() {
  const counts = { spawned: 0 }
  const spawn: SpawnText = (listeners) => {
    counts.spawned++
    return nodeText(textWorker)(listeners)
  }
  return { counts, spawn }
}

function promptsOf(template: string, spawn?: SpawnText, context = 100_000): Prompts {
  const spec = smallSpec(template)
  const prompts = new Prompts(createTokenizer(spec), spec, context, spawn)
  opened.push(prompts)
  return prompts
}

/** Counts the turns of the event loop until a promise settles. */
async function turnsDuring(what: Promise<unknown>): Promise<number> {
  let turns = 0
  let going = true
  const turn = () => {
    turns++
    if (going) setImmediate(turn)
  }
  setImmediate(turn)
  await what.catch(() => {})
  going = false
  return turns
}

const conversation = (turns: number): Message[] =>
  Array.from({ length: turns }, (_, n) => ({
    role: n % 2 ? 'assistant' : 'user',
    content: `message ${n} <|im_end|> ${'words '.repeat(50)}`,
  }))

describe.each([
  ['in a text worker', true],
  ['in pieces', false],
])('%s', (_, away) => {
  test.each([
    ['a long conversation', conversation(100), {}],
    ['a long text', 'word '.repeat(20_000), { raw: true }],
    ['a long text with special tokens', '<|im_start|>'.repeat(2000), { raw: true }],
    ['a short one', 'hi', {}],
    ['token ids', [1, 2, 3], {}],
  ] as const)('%s: the same ids as synchronously', async (_, prompt, options) => {
    const { spawn } = counted()
    const prompts = promptsOf(chatml, away ? spawn : undefined)
    const ids = prompts.ids(prompt, options)
    const prepared = await prompts.prepare(prompt, options)
    expect([...prepared]).toEqual(ids)
    expect(prepared.times.tokenized).toBeGreaterThanOrEqual(prepared.times.templated ?? prepared.times.accepted)
    expect(prepared.times.templated !== undefined).toBe(!('raw' in options) && typeof prompt[0] !== 'number')
    // A prepared prompt is returned unchanged.
    expect(await prompts.prepare(prepared)).toBe(prepared)
    expect(prompts.accept({ prompt: prepared }).ids).toEqual(ids)
    expect(prompts.accept({ prompt: prepared }).trace.timings(0, 1, 1).tokenize_ms).toBeGreaterThanOrEqual(0)
  })

  test('errors are the same, too', async () => {
    const { spawn } = counted()
    const prompts = promptsOf("{{ raise_exception('no') }}", away ? spawn : undefined, 100)
    await expect(prompts.prepare(conversation(100))).rejects.toMatchObject({
      code: 'bad_argument',
      message: /refuses.*no/,
    })
    await expect(prompts.prepare('word '.repeat(20_000), { raw: true })).rejects.toMatchObject({
      code: 'context_exceeded',
      message: /more than 99 tokens/,
    })
    await expect(prompts.prepare('')).rejects.toMatchObject({ code: 'empty_prompt' })
    await expect(prompts.prepare('x', { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' })
  })

  test('a long text does not block the event loop', async () => {
    const { spawn } = counted()
    const prompts = promptsOf(chatml, away ? spawn : undefined, 1_000_000)
    expect(await turnsDuring(prompts.prepare('word '.repeat(200_000), { raw: true }))).toBeGreaterThan(10)
  })

  test('an encoding ends when nothing waits for it any more', async () => {
    const { spawn } = counted()
    const prompts = promptsOf(chatml, away ? spawn : undefined, 10_000_000)
    const control = new AbortController()
    const reading = prompts.prepare('word '.repeat(400_000), { raw: true, signal: control.signal })
    setImmediate(() => control.abort())
    await expect(reading).rejects.toMatchObject({ code: 'aborted' })
    expect((await prompts.prepare('x '.repeat(10_000), { raw: true })).length).toBeGreaterThan(1000)
  })
})

describe('a slow template', () => {
  test('runs in the worker while the event loop turns, though the prompt is short', async () => {
    const { spawn, counts } = counted()
    const prompts = promptsOf(slow, spawn)
    const reading = prompts.prepare('hi')
    expect(await turnsDuring(reading)).toBeGreaterThan(10)
    expect([...(await reading)]).toEqual(promptsOf(chatml).ids('hi'))
    expect(counts.spawned).toBe(1)
  })

  test('is stopped in the worker, which then serves others', async () => {
    const { spawn, counts } = counted()
    const prompts = promptsOf(endless, spawn)
    const reading = prompts.prepare('hi')
    expect(await turnsDuring(reading)).toBeGreaterThan(10)
    await expect(reading).rejects.toMatchObject({ code: 'bad_model', message: /stopped/ })
    await prompts.prepare('word '.repeat(10_000), { raw: true })
    expect(counts.spawned).toBe(1)
  })

  test('is stopped where there is no worker', async () => {
    await expect(promptsOf(endless).prepare('hi')).rejects.toMatchObject({ code: 'bad_model', message: /stopped/ })
  })

  test('needs no worker if it is fast', async () => {
    const { spawn, counts } = counted()
    const prompts = promptsOf(chatml, spawn)
    for (let n = 0; n < 20; n++) await prompts.prepare(`question ${n}`)
    await prompts.prepare([1, 2, 3])
    expect(counts.spawned).toBe(0)
  })
})

test('a worker that dies fails its prompt, and is replaced', async () => {
  let spawned = 0
  const dying = `import { parentPort } from 'node:worker_threads'
    parentPort.on('message', ({ type }) => (type === 'open' ? parentPort.postMessage({ type: 'opened' }) : process.exit(7)))`
  const spawn: SpawnText = (listeners) =>
    nodeText(spawned++ === 0 ? new URL(`data:text/javascript,${encodeURIComponent(dying)}`) : textWorker)(listeners)
  const prompts = promptsOf(chatml, spawn)
  const text = 'word '.repeat(10_000)
  await expect(prompts.prepare(text, { raw: true })).rejects.toMatchObject({ code: 'worker_lost', message: /code 7/ })
  expect([...(await prompts.prepare(text, { raw: true }))]).toEqual(prompts.ids(text, { raw: true }))
  expect(spawned).toBe(2)
})

test('where no worker is available, prompts are encoded in pieces', async () => {
  let asked = 0
  const prompts = promptsOf(chatml, () => {
    asked++
    throw new Error('workers are forbidden here')
  })
  const text = 'word '.repeat(20_000)
  for (let n = 0; n < 2; n++)
    expect([...(await prompts.prepare(text, { raw: true }))]).toEqual(prompts.ids(text, { raw: true }))
  expect(asked).toBe(1)
})

test("one tenant's long texts do not delay another's", async () => {
  const { spawn } = counted()
  const prompts = promptsOf(chatml, spawn)
  const order: string[] = []
  const read = (tenant: string) =>
    prompts.prepare('word '.repeat(5_000), { raw: true, tenant }).then(() => order.push(tenant))
  await Promise.all([...Array.from({ length: 8 }, () => read('a')), read('b')])
  expect(order.indexOf('b')).toBeLessThan(3)
})

test('closing aborts running and waiting encodings', async () => {
  const { spawn } = counted()
  const prompts = promptsOf(slow, spawn)
  const all = Promise.allSettled([prompts.prepare(conversation(50)), prompts.prepare(conversation(50))])
  prompts.close()
  for (const each of await all) expect(each).toMatchObject({ status: 'rejected', reason: { code: 'aborted' } })
})
