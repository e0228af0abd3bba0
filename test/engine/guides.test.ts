/** Guided answers of a tiny model: they fit their guide, and go on anywhere from any of their tokens. */
import { afterAll, describe, expect, test } from 'vitest'
import { loadGuides } from '../../node/guides.ts'
import type { Engine, Guide, JsonSchema } from '../../src/index.ts'
import { tinyEngine } from '../helpers/tiny-server.ts'

const engine = await tinyEngine({ guides: loadGuides })
afterAll(() => engine.close())

const person: JsonSchema = {
  type: 'object',
  properties: { name: { type: 'string', maxLength: 5 }, age: { type: 'integer', minimum: 0, maximum: 99 } },
  required: ['name', 'age'],
  additionalProperties: false,
}
const schema = (wanted: JsonSchema | string, compact = false): Guide => ({
  kind: 'json_schema',
  schema: wanted,
  compact,
})
const answer = async (guide: Guide, more: object = {}) =>
  engine.submit({ prompt: 'Who?', guide, temperature: 1, seed: 7, maxTokens: 200, ...more }).result()

describe('an answer', () => {
  test('of a schema parses, ends by itself, and tells what was forced', async () => {
    for (const seed of [1, 2, 3]) {
      const { text, finishReason, timings } = await answer(schema(person, true), { seed })
      const { name, age } = JSON.parse(text)
      expect(finishReason).toBe('stop')
      expect([...name].length).toBeLessThanOrEqual(5)
      expect(age >= 0 && age <= 99 && Number.isInteger(age)).toBe(true)
      expect(timings.forced_tokens).toBeGreaterThanOrEqual('{"name":"'.length)
    }
  })

  test.each<[string, Guide, RegExp]>([
    ['choices', { kind: 'choice', choices: ['yes', 'no', 'maybe so'] }, /^(yes|no|maybe so)$/],
    ['a regex', { kind: 'regex', regex: '[A-C]{2,4}-[0-9]{3}' }, /^[A-C]{2,4}-\d{3}$/],
    [
      'a Lark grammar',
      { kind: 'lark', grammar: 'start: "<" word ("," word)? ">"\nword: /[a-z]{1,3}/' },
      /^<[a-z]{1,3}(,[a-z]{1,3})?>$/,
    ],
    ['GBNF', { kind: 'gbnf', grammar: 'root ::= "(" root? ")" | [0-9]{2}' }, /^\(*(\d\d)?\)*$/],
    ['the empty choice', { kind: 'choice', choices: [''] }, /^$/],
  ])('of %s matches', async (_, guide, pattern) => {
    for (const more of [{ seed: 1 }, { seed: 2, topK: 3 }, { topP: 0.5 }, { minP: 0.2 }, { temperature: 0 }]) {
      const { text, finishReason } = await answer(guide, { maxTokens: 400, ...more })
      expect(finishReason).toBe('stop')
      expect(text).toMatch(pattern)
    }
  })

  test('of any JSON object is one, or the beginning of one', async () => {
    const { text, finishReason } = await answer({ kind: 'json_object' }, { maxTokens: 60 })
    if (finishReason === 'stop') expect(typeof JSON.parse(text)).toBe('object')
    else expect(text.trimStart()[0]).toBe('{')
  })

  test('goes on from any of its tokens as if it had made them, forced ones included', async () => {
    const guide = schema(person, true)
    const options = { repetitionPenalty: 1.2, frequencyPenalty: 0.3, topLogprobs: 2 }
    const whole = await answer(guide, options)
    for (let cut = 0; cut <= whole.ids.length; cut += 3) {
      const rest = await answer(guide, { ...options, after: whole.ids.slice(0, cut) })
      expect(rest.ids, `after ${cut}`).toEqual(whole.ids)
      expect(rest.finishReason).toBe('stop')
    }
    const done = await answer(guide, { after: whole.ids })
    expect(done.text).toBe(whole.text)
    await expect(answer(guide, { after: [...whole.ids.slice(0, 2), 65] })).rejects.toMatchObject({
      code: 'bad_argument',
    })
  })

  test('shares passes with others and is the same as alone; two of one guide do not mix', async () => {
    const guide = schema(person)
    const alone = await Promise.all([1, 2, 3, 4].map((seed) => answer(guide, { seed })))
    const [free] = await Promise.all([
      engine.submit({ prompt: 'Who?', maxTokens: 40, ignoreEos: true }).result(),
      ...[1, 2, 3, 4].map(async (seed, at) => expect((await answer(guide, { seed })).ids).toEqual(alone[at]!.ids)),
    ])
    expect(free.ids).toHaveLength(40)
  })

  test('never ends early, whatever the caller says about its ends', async () => {
    for (const more of [
      { ignoreEos: true },
      { minTokens: 300 },
      { logitBias: Object.fromEntries(ends().map((id) => [id, 100])) },
    ]) {
      const { text, finishReason } = await answer(schema(person), more)
      expect(finishReason).toBe('stop')
      expect(Object.keys(JSON.parse(text))).toEqual(['name', 'age'])
    }
  })
})

function ends(): readonly number[] {
  return engine.archive.tokenizer.eosIds
}

describe('log-probabilities', () => {
  const guide: Guide = { kind: 'choice', choices: ['aa', 'bb', 'cx', 'cy'] }

  test('are those of the tokens that fit; a forced token is certain', async () => {
    const events = []
    for await (const event of engine.submit({ prompt: 'x', guide, topLogprobs: 20, temperature: 1, seed: 3 }))
      if (event.type === 'token') events.push(event)
    const [first] = events
    expect(first!.topLogprobs!.length).toBeLessThanOrEqual(6)
    const sum = first!.topLogprobs!.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0)
    expect(sum).toBeCloseTo(1, 5)
    expect(events.length).toBeGreaterThan(0)
  })

  test("are the model's own if asked, and then nothing is forced", async () => {
    const raw = await engine.submit({ prompt: 'x', guide, rawLogprobs: true, temperature: 1, seed: 3 }).result()
    expect(raw.timings.forced_tokens).toBe(0)
    const first = async (rawLogprobs: boolean) => {
      for await (const event of engine.submit({ prompt: 'x', guide, rawLogprobs }))
        if (event.type === 'token') return event
      return undefined
    }
    const [masked, own] = [await first(false), await first(true)]
    expect(own!.id).toBe(masked!.id)
    expect(own!.logprob).toBeLessThan(masked!.logprob)
  })
})

describe('a guide', () => {
  test.each<[string, Guide, string, RegExp]>([
    ['a schema that is no JSON', schema('{"type": '), 'bad_argument', /json_schema/],
    [
      'a wrong type, with its path',
      schema({ properties: { a: { items: { type: 'strin' } } } }),
      'bad_argument',
      /\/properties\/a\/items/,
    ],
    ['a remote reference', schema({ $ref: 'https://example.org/s.json' }), 'unsupported', /example\.org|ref/],
    ['no choices', { kind: 'choice', choices: [] }, 'bad_argument', /choices/],
    ['a choice that is no text', { kind: 'choice', choices: [1 as never] }, 'bad_argument', /guide\.choices\[0\]/],
    ['a regex that is not closed', { kind: 'regex', regex: '(a' }, 'bad_argument', /regex/],
    ['what nothing matches', schema(false), 'bad_argument', /./],
    ['an unknown kind', { kind: 'xml' } as never, 'bad_argument', /guide\.kind/],
    ['a cyclic object', schema(cyclic()), 'bad_argument', /guide/],
  ])('is refused: %s', async (_, guide, code, message) => {
    const failure = await engine.prepare('x', { guide }).then(
      () => undefined,
      (error) => error,
    )
    expect(failure).toMatchObject({ code, message: expect.stringMatching(message) })
    await expect(answer(guide)).rejects.toMatchObject({ code })
    expect(engine.stats).toMatchObject({ running: 0, waiting: 0 })
  })

  test('is refused by an engine without grammars', async () => {
    const plain = await tinyEngine()
    expect(() => plain.submit({ prompt: 'x', guide: schema(person) })).toThrow(
      expect.objectContaining({ code: 'unsupported', message: expect.stringMatching(/guides/) }),
    )
    await plain.close()
  })

  test('that is submitted before the engine of grammars is loaded waits for it, fails with it, and can be left', async () => {
    let opened = 0
    let open = () => {}
    const gate = new Promise<void>((resolve) => {
      open = resolve
    })
    const guides = async () => {
      opened++
      if (opened === 1) throw new Error('no module')
      await gate
      return loadGuides()
    }
    const late: Engine = await tinyEngine({ guides })
    expect(opened).toBe(0)
    await expect(late.submit({ prompt: 'x', guide: schema(person) }).result()).rejects.toThrow(/no module/)
    const left = late.submit({ prompt: 'x', guide: schema(person) })
    const bad = late.submit({ prompt: 'x', guide: schema({ type: 'x' }) })
    const good = late.submit({ prompt: 'x', guide: { kind: 'choice', choices: ['ab'] }, after: late.tokenize('a') })
    left.cancel()
    await expect(left.result()).rejects.toMatchObject({ code: 'aborted' })
    open()
    await expect(bad.result()).rejects.toMatchObject({ code: 'bad_argument' })
    expect((await good.result()).text).toBe('ab')
    expect(opened).toBe(2)
    await late.close()
  })
})

describe('while the engine of grammars is loaded', () => {
  const stuck = () => tinyEngine({ guides: () => new Promise<never>(() => {}) })
  const outcome = (work: Promise<unknown>) =>
    work.then(
      () => 'done',
      (error) => error,
    )

  test('the signal of a prompt ends its preparation', async () => {
    const engine = await stuck()
    const control = new AbortController()
    const prepared = outcome(engine.prepare('x', { guide: schema(person), signal: control.signal }))
    control.abort(new Error('left'))
    expect(await prepared).toMatchObject({ code: 'aborted' })
    expect(await outcome(engine.prepare('x', { guide: schema(person), signal: control.signal }))).toMatchObject({
      code: 'aborted',
    })
    expect(await outcome(engine.prepare('x', { guide: schema(person), signal: 1 as never }))).toMatchObject({
      code: 'bad_argument',
    })
    await engine.close()
  })

  test('closing the engine ends requests and preparations', async () => {
    const engine = await stuck()
    const waiting = [
      outcome(engine.submit({ prompt: 'x', guide: schema(person) }).result()),
      outcome(engine.prepare('x', { guide: schema(person) })),
    ]
    await engine.close()
    for (const failure of await Promise.all(waiting))
      expect(failure).toMatchObject({ code: 'aborted', message: 'the engine was closed' })
  })
})

function cyclic(): JsonSchema {
  const schema: Record<string, unknown> = { type: 'object' }
  schema.properties = { self: schema }
  return schema
}
