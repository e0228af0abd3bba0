/** Answers with a shape over HTTP, by every name that clients have for one, and schemas that are refused. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp } from '../../edge/index.ts'
import type { App } from '../../edge/server.ts'
import { loadGuides } from '../../node/guides.ts'
import type { Engine } from '../../src/index.ts'
import { ask, chatBody, refusal } from '../helpers/ask.ts'
import { testConfig, tinyEngine } from '../helpers/tiny-server.ts'

let engine: Engine
let app: App
beforeAll(async () => {
  engine = await tinyEngine({ guides: loadGuides })
  // The worker's start is no part of what is measured.
  await engine.prepare('x', { guide: { kind: 'json_object' } })
  app = createApp({ engine, config: { ...testConfig, limits: { bodyBytes: 2_000_000, outputTokens: 300 } } })
})
afterAll(() => engine.close())

const schema = {
  type: 'object',
  properties: { ok: { enum: [true, null] }, n: { type: 'integer', minimum: 1, maximum: 9 } },
  required: ['ok', 'n'],
  additionalProperties: false,
}
const isAnswer = (text: string) => {
  const { ok, n, ...rest } = JSON.parse(text)
  expect(rest).toEqual({})
  expect([true, null]).toContain(ok)
  expect(n).toBeGreaterThan(0)
}
const isYes = (text: string) => expect(['yes', 'no']).toContain(text)
const sampled = { temperature: 1, seed: 5, max_tokens: 300 }

async function text(path: string, body: object): Promise<string> {
  const answer = await (await ask(app, body, { path })).json()
  expect(answer.error ?? null).toBeNull()
  const [choice] = answer.choices ?? []
  if (choice) expect(choice.finish_reason).toBe('stop')
  return choice?.message?.content ?? choice?.text ?? answer.output[0].content[0].text
}

describe('an answer has the shape that is asked for with', () => {
  const named: [string, object, (text: string) => void][] = [
    ['guided_json', { guided_json: schema }, isAnswer],
    ['guided_json as text', { guided_json: JSON.stringify(schema) }, isAnswer],
    ['json_schema', { json_schema: schema }, isAnswer],
    ['format', { format: schema }, isAnswer],
    ['structured_outputs.json', { structured_outputs: { json: schema, disable_any_whitespace: true } }, isAnswer],
    ['guided_choice', { guided_choice: ['yes', 'no'] }, isYes],
    ['structured_outputs.choice', { structured_outputs: { choice: ['yes', 'no'] } }, isYes],
    ['guided_regex', { guided_regex: 'yes|no' }, isYes],
    ['guided_grammar in Lark', { guided_grammar: 'start: "yes" | "no"' }, isYes],
    ['guided_grammar in GBNF', { guided_grammar: 'root ::= "yes" | "no"' }, isYes],
    ['grammar', { grammar: '# an answer\nroot ::= yes | "no"\nyes ::= "y" "es"' }, isYes],
    ['the options of Ollama', { options: { grammar: 'root ::= "yes" | "no"' } }, isYes],
  ]
  const strict = { type: 'json_schema', json_schema: { name: 'a', strict: true, schema } }
  const loose = { type: 'json_schema', json_schema: { name: 'a', strict: null, description: null, schema } }
  test.each<[string, object, (text: string) => void]>([
    ...named,
    ['response_format, strict', { response_format: strict }, isAnswer],
    ['response_format, not strict', { response_format: loose }, isAnswer],
    ['response_format of llama.cpp', { response_format: { type: 'json_object', schema } }, isAnswer],
  ])('%s', async (_, change, check) => {
    check(await text('/v1/chat/completions', chatBody({ ...sampled, ...change })))
    check(await text('/v1/completions', { model: 'tiny', prompt: 'x', ...sampled, ...change }))
  })

  test.each(named)('%s, in a response', async (_, change, check) => {
    const { max_tokens, ...rest } = sampled
    check(await text('/v1/responses', { model: 'tiny', input: 'x', ...rest, ...change }))
  })

  test('text.format', async () => {
    const format = { type: 'json_schema', name: 'a', strict: true, schema }
    const body = { model: 'tiny', input: 'x', temperature: 1, seed: 5, text: { format } }
    isAnswer(await text('/v1/responses', body))
    const answer = await (await ask(app, body, { path: '/v1/responses' })).json()
    expect(answer.text.format).toEqual(format)
  })

  test('response_format in a stream of two choices, with log-probabilities and forced tokens', async () => {
    const body = chatBody({ ...sampled, response_format: strict, n: 2, stream: true, logprobs: true, top_logprobs: 3 })
    const lines = (await (await ask(app, body)).text()).split('\n').filter((line) => line.startsWith('data: {'))
    const texts = ['', '']
    let forced = 0
    for (const line of lines) {
      const { choices, foretoken } = JSON.parse(line.slice(6))
      for (const { index, delta } of choices) texts[index] += delta.content ?? ''
      forced += foretoken?.timings?.forced_tokens ?? 0
    }
    for (const one of texts) isAnswer(one)
    expect(forced).toBeGreaterThan(10)
  })
})

describe('log-probabilities under a guide', () => {
  const scores = async (body: object, path?: string) => {
    const answer = await (await ask(app, body, path ? { path } : {})).json()
    expect(answer.error ?? null).toBeNull()
    const [choice] = answer.choices ?? []
    if (choice?.logprobs?.token_logprobs) return choice.logprobs.token_logprobs as number[]
    const list = choice?.logprobs?.content ?? answer.logprobs ?? answer.output[0].content[0].logprobs
    return list.map(({ logprob }: { logprob: number }) => logprob) as number[]
  }
  const foretoken = { raw_logprobs: true }
  const shape = { guided_choice: ['yes', 'no'] }

  test.each<[string, object, string]>([
    ['chats', { ...chatBody({ ...sampled, ...shape }), logprobs: true }, '/v1/chat/completions'],
    ['completions', { model: 'tiny', prompt: 'x', ...sampled, ...shape, logprobs: 1 }, '/v1/completions'],
    [
      'responses',
      { model: 'tiny', input: 'x', temperature: 1, seed: 5, ...shape, include: ['message.output_text.logprobs'] },
      '/v1/responses',
    ],
    [
      'Ollama',
      {
        ...{ model: 'tiny', prompt: 'x', raw: true, stream: false, logprobs: true, format: { enum: ['yes', 'no'] } },
        options: { temperature: 1, seed: 5 },
      },
      '/api/generate',
    ],
  ])("are the model's own if asked: %s", async (_, body, path) => {
    const [masked, raw] = [await scores(body, path), await scores({ ...body, foretoken }, path)]
    expect(raw).toHaveLength(masked.length)
    const sum = (list: number[]) => list.reduce((sum, one) => sum + one, 0)
    expect(sum(raw)).toBeLessThan(sum(masked) - 1)
  })
})

describe('refused with 400 within a second, while others go on:', () => {
  const deep = (depth: number) =>
    JSON.parse(`${'{"type":"array","items":'.repeat(depth)}{"type":"null"}${'}'.repeat(depth)}`)
  const many = Object.fromEntries(
    Array.from({ length: 900 }, (_, at) => [
      `property number ${at}`,
      { type: 'string', description: 'x'.repeat(1200) },
    ]),
  )
  test.each<[string, object, RegExp]>([
    ['a schema of a megabyte', { guided_json: { type: 'object', properties: many } }, /characters|bytes/],
    ['a schema of depth 200', { guided_json: deep(200) }, /deep|nest/],
    ['a schema of depth 200 in a text', { guided_json: JSON.stringify(deep(200)) }, /deep|nest/],
    [
      'a cycle of references',
      { guided_json: { $ref: '#/$defs/a', $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } } } },
      /requires itself/,
    ],
    ['a remote reference', { guided_json: { $ref: 'https://example.org/schema.json' } }, /example\.org|\$ref/],
    [
      'a wrong type, with its path',
      { response_format: { type: 'json_schema', json_schema: { schema: { properties: { a: { type: 'strng' } } } } } },
      /\/properties\/a/,
    ],
    ['a regex that is not closed', { guided_regex: '(' }, /regex/],
    ['a grammar that matches nothing', { guided_grammar: 'start: start "a"' }, /match/],
    ['a grammar without its root', { grammar: 'rot ::= "a"' }, /root/],
    ['tokens in a grammar', { grammar: 'root ::= <[12]> "a"' }, /token/],
    ['two shapes', { guided_regex: 'a', guided_choice: ['a'] }, /guided_regex and guided_choice/],
    ['no choices', { guided_choice: [] }, /guided_choice is empty/],
    ['no choices of a kind', { structured_outputs: { choice: [] } }, /is empty; give at least one text/],
    ['a part that is not supported', { structured_outputs: { structural_tag: 'x' } }, /structural_tag/],
    ['a format without its schema', { response_format: { type: 'json_schema' } }, /schema/],
  ])('%s', async (_, change, message) => {
    const other = engine.submit({ prompt: 'x', maxTokens: 30, ignoreEos: true }).result()
    const begun = performance.now()
    const found = await refusal(await ask(app, chatBody(change)))
    expect(found.status).toBe(400)
    expect(found.message).toMatch(message)
    // The bound is a second; a machine that is busy gets some more.
    expect(performance.now() - begun).toBeLessThan(5000)
    expect((await other).ids).toHaveLength(30)
  })

  const wrong = { type: 'strng' }
  const fn = (parameters: object) => ({ type: 'function', function: { name: 'f', parameters } })
  test.each<[string, object, string?]>([
    ['response_format', { response_format: { type: 'json_schema', json_schema: { schema: wrong } } }],
    ['response_format', { response_format: { type: 'json_schema' } }],
    ['response_format', { response_format: { type: 'json_object', schema: wrong } }],
    ['guided_json', { guided_json: wrong }],
    ['guided_json', { guided_json: '{' }],
    ['guided_regex', { guided_regex: '(' }],
    ['guided_grammar', { guided_grammar: 'start: start' }],
    ['grammar', { grammar: 'rot ::= "a"' }],
    ['json_schema', { json_schema: wrong }],
    ['format', { format: wrong }],
    ['structured_outputs', { structured_outputs: { json: wrong } }],
    ['structured_outputs', { structured_outputs: { structural_tag: 'x' } }],
    ['guided_choice', { guided_regex: 'a', guided_choice: ['a'] }],
    ['tools', { tools: [fn({ type: 'object', properties: { a: { $ref: 'https://example.org/x' } } })] }],
    ['tools', { tools: [fn({ type: 'object', properties: { a: wrong } })], tool_choice: 'required' }],
    ['guided_regex', { tools: [fn({})], tool_choice: 'none', guided_regex: '(' }],
    ['text.format', { text: { format: { type: 'json_schema', name: 'a', schema: wrong } } }, '/v1/responses'],
    ['guided_regex', { guided_regex: '(' }, '/v1/responses'],
    ['guided_regex', { guided_regex: '(' }, '/v1/completions'],
  ])('a fault of %s is named as its param: %j', async (param, change, path = '/v1/chat/completions') => {
    const form = { '/v1/responses': { model: 'tiny', input: 'x' }, '/v1/completions': { model: 'tiny', prompt: 'x' } }
    const base = path === '/v1/chat/completions' ? chatBody() : form[path as keyof typeof form]
    const answer = await ask(app, { ...base, ...change }, { path })
    expect(answer.status).toBe(400)
    expect((await answer.json()).error).toMatchObject({ param, message: expect.stringMatching(/./) })
  })

  test.each(['(a{1000}){1000}', '(a|b)*a(a|b){3000}', '.{0,100000}a.{0,100000}', '(\\p{L}|\\p{N}){2000,4000}\\p{Lu}'])(
    'the regex %s, or answered within the limits of its work',
    async (guided_regex) => {
      const other = engine.submit({ prompt: 'x', maxTokens: 30, ignoreEos: true }).result()
      const answer = await ask(app, chatBody({ ...sampled, max_tokens: 8, guided_regex }))
      expect([200, 400]).toContain(answer.status)
      await answer.json()
      expect((await other).ids).toHaveLength(30)
    },
  )

  test('the instance survives them all', async () => {
    isYes(await text('/v1/chat/completions', chatBody({ ...sampled, guided_choice: ['yes', 'no'] })))
  })
})
