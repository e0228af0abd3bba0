/** Tests answers that continue after tokens that were already shown. */
import { afterAll, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { type DoneEvent, Engine, type GenerateRequest } from '../../src/index.ts'
import { randomPrompt } from '../helpers/answers.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const options = { wasm: await loadWasm('auto', 1), passTokens: 64 }
const engine = await Engine.load(tinyFiles({ context: 256 }), options)
const other = await Engine.load(tinyFiles({ context: 256 }), options)
afterAll(() => Promise.all([engine.close(), other.close()]))

async function told(of: Engine, request: GenerateRequest) {
  const ids: number[] = []
  let text = ''
  let done: DoneEvent | undefined
  for await (const event of of.submit(request)) {
    if (event.type === 'token') {
      ids.push(event.id)
      text += event.text
    }
    if (event.type === 'done') done = event
  }
  return { ids, text, done: done! }
}

const prompt = randomPrompt(40, 1)
const stopping = await told(engine, { prompt, maxTokens: 20, ignoreEos: true })

test.each<[string, Partial<GenerateRequest>]>([
  ['greedy', {}],
  ['seeded', { temperature: 1, seed: 5 }],
  ['with penalties', { temperature: 0.8, seed: 6, repetitionPenalty: 1.3, presencePenalty: 1, frequencyPenalty: 0.5 }],
  ['seeded by 64 bits', { temperature: 1, seed: -(2n ** 63n) }],
  ['with ends of its own', { stopTokenIds: [...Array(100).keys()], minTokens: 12 }],
  ['with a stop string', { stop: [stopping.text.slice(9, 12)] }],
  ['to the end of the context', { prompt: randomPrompt(230, 3), maxTokens: 100 }],
])('%s: resuming an answer from any token gives the same answer on every engine', async (_, change) => {
  const request = { prompt, maxTokens: 20, ignoreEos: true, ...change }
  const whole = await told(engine, request)
  expect(whole.done.ids.length).toBeGreaterThan(2)
  for (let split = 0; split <= whole.ids.length; split++) {
    const after = whole.ids.slice(0, split)
    const rest = await told(other, { ...request, after })
    expect([...after, ...rest.ids]).toEqual(whole.ids)
    expect(rest.done).toMatchObject({
      ids: whole.ids,
      text: whole.text,
      finishReason: whole.done.finishReason,
      timings: { prompt_tokens: request.prompt.length },
    })
    expect(whole.text.endsWith(rest.text)).toBe(true)
  }
  expect(other.stats.pages_in_use).toBe(other.stats.prefix_pages)
})

test('tokens that cannot have been shown are refused', async () => {
  const submit = (after: readonly number[]) => () => engine.submit({ prompt, maxTokens: 4, ignoreEos: true, after })
  expect(submit([1, 2, 3, 4, 5])).toThrow(expect.objectContaining({ code: 'bad_argument' }))
  for (const id of [-1, 1.5, 1e9, Number.NaN])
    expect(submit([id])).toThrow(expect.objectContaining({ code: 'bad_argument' }))
})
