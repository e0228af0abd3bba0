/** `POST /v1/embeddings` and `/v1/rerank`: their contracts, limits and ends, with unmodified clients and by hand. */
import { fileURLToPath } from 'node:url'
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { embed, embedMany } from 'ai'
import { Ollama } from 'ollama'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp, type ServerConfig } from '../../edge/index.ts'
import type { App } from '../../edge/server.ts'
import type { Engine } from '../../src/index.ts'
import { loadFolder, vectors } from '../golden/golden.ts'
import { ask } from '../helpers/ask.ts'
import { testConfig, testKeys, tinyEngine } from '../helpers/tiny-server.ts'

const model = 'embed'
const config: ServerConfig = { ...testConfig, models: [model] }
const path = (name: string) => fileURLToPath(new URL(name, vectors))
const post = (app: App, body: unknown, route = '/v1/embeddings') => ask(app, body, { path: route })
const texts = ['the cat sat', 'on the mat', 'and then it left']

describe('embeddings of a model that reads both ways', () => {
  let engine: Engine
  let app: App
  beforeAll(async () => {
    engine = await loadFolder(path('tiny-gemma-embedding/gguf/tiny-gemma-embedding-f16.gguf'))
    app = createApp({ engine, config })
  })
  afterAll(() => engine?.close())

  test('are those of the engine, with its prompts and fewer dimensions', async () => {
    const body = { model, input: texts, input_type: 'query', dimensions: 24 }
    const { data } = await (await post(app, body)).json()
    const { vectors } = await engine.embed(texts, { kind: 'query', dimensions: 24 })
    const got = data.map(({ embedding }: { embedding: number[] }) => embedding.map(Math.fround))
    expect(got).toEqual(vectors.map((vector) => [...vector]))
  })

  test('are all that it makes: an answer is refused with what to use', async () => {
    for (const route of ['/v1/chat/completions', '/v1/completions']) {
      const body = {
        model,
        max_tokens: 4,
        ...(route.includes('chat') ? { messages: [{ role: 'user', content: 'hi' }] } : { prompt: 'hi' }),
      }
      const response = await post(app, body, route)
      expect([response.status, (await response.json()).error.message]).toEqual([
        expect.any(Number),
        expect.stringMatching(/makes embeddings and no answers.*\/v1\/embeddings/),
      ])
      expect(response.status, route).toBeGreaterThanOrEqual(400)
      expect(response.status, route).toBeLessThan(600)
    }
  })

  test('a text longer than its context is a 400 with the numbers', async () => {
    const response = await post(app, { model, input: 'the cat sat '.repeat(120) })
    expect(response.status).toBe(400)
    expect((await response.json()).error.message).toMatch(
      /more than 255 tokens, and the context is 256, of which the model's own marks take 1;/,
    )
  })
})

describe('embeddings', () => {
  let engine: Engine
  let app: App
  beforeAll(async () => {
    engine = await loadFolder(path('tiny-embedding-qwen3'), { passTokens: 64 })
    app = createApp({ engine, config })
  })
  afterAll(() => engine?.close())

  const idle = () => {
    expect(engine.stats).toMatchObject({ running: 0, waiting: 0, pages_in_use: engine.stats.prefix_pages })
  }
  const fetcher = async (input: RequestInfo | URL, init?: RequestInit) => app.fetch(new Request(input, init))
  const own = async () => (await engine.embed(texts)).vectors

  test('openai: texts, in the base64 that the client asks for, and as floats', async () => {
    const client = new OpenAI({ baseURL: 'http://app.test/v1', apiKey: testKeys.one, fetch: fetcher, maxRetries: 0 })
    const wanted = (await own()).map((vector) => [...vector])
    const plain = await client.embeddings.create({ model, input: texts })
    expect(plain.data.map(({ embedding }) => embedding)).toEqual(wanted)
    expect(plain.data.map(({ index, object }) => [index, object])).toEqual([0, 1, 2].map((i) => [i, 'embedding']))
    const { tokens } = await engine.embed(texts)
    const sum = tokens.reduce((all, count) => all + count, 0)
    expect(plain).toMatchObject({ object: 'list', model, usage: { prompt_tokens: sum, total_tokens: sum } })
    const floats = await client.embeddings.create({ model, input: texts, encoding_format: 'float' })
    for (const [index, { embedding }] of floats.data.entries())
      expect(embedding.map(Math.fround)).toEqual(wanted[index])
  })

  test('openai: one text, token ids, and fewer dimensions', async () => {
    const client = new OpenAI({ baseURL: 'http://app.test/v1', apiKey: testKeys.one, fetch: fetcher, maxRetries: 0 })
    const [wanted] = await own()
    const one = async (input: string | number[] | number[][], more: object = {}) =>
      (await client.embeddings.create({ model, input, ...more })).data.map(({ embedding }) => embedding)
    const ids = [...engine.tokenize(texts[0]!), 0]
    expect(await one(texts[0]!)).toEqual([[...wanted!]])
    expect(await one(ids)).toEqual([[...wanted!]])
    expect(await one([ids, ids])).toEqual([[...wanted!], [...wanted!]])
    const [cut] = await one(texts[0]!, { dimensions: 8 })
    expect(cut).toHaveLength(8)
    expect(Math.hypot(...cut!)).toBeCloseTo(1)
  })

  test('ai: embed and embedMany, of both providers', async () => {
    const settings = { baseURL: 'http://app.test/v1', apiKey: testKeys.one, fetch: fetcher }
    const wanted = await own()
    for (const provider of [
      createOpenAI(settings).embedding(model),
      createOpenAICompatible({ ...settings, name: 'foretoken' }).textEmbeddingModel(model),
    ]) {
      const { embedding, usage } = await embed({ model: provider, value: texts[0]! })
      expect(embedding.map(Math.fround)).toEqual([...wanted[0]!])
      expect(usage.tokens).toBeGreaterThan(5)
      const { embeddings } = await embedMany({ model: provider, values: texts })
      expect(embeddings.map((one) => one.map(Math.fround))).toEqual(wanted.map((one) => [...one]))
    }
  })

  test('ollama: embed, of one text and of several', async () => {
    const headers = { authorization: `Bearer ${testKeys.one}` }
    const client = new Ollama({ host: 'http://app.test', fetch: fetcher, headers })
    const wanted = (await own()).map((vector) => [...vector])
    const { embeddings, prompt_eval_count: count } = await client.embed({ model, input: texts, truncate: true })
    expect(embeddings.map((one) => one.map(Math.fround))).toEqual(wanted)
    expect(count).toBeGreaterThan(20)
    const cut = await client.embed({ model: `${model}:latest`, input: texts[0]!, dimensions: 8 })
    expect(cut.embeddings.map((one) => one.length)).toEqual([8])
    await expect(client.embed({ model, input: [''] })).rejects.toThrow(/input/)
    await expect(client.embed({ model, input: 'a', dimensions: 65 })).rejects.toThrow(/vectors of 64 numbers/)
  })

  test('takes the prompts of the model, and a prefix of the request', async () => {
    const vector = async (more: object) => {
      const response = await post(app, { model, input: 'what?', ...more })
      return ((await response.json()) as { data: { embedding: number[] }[] }).data[0]!.embedding
    }
    const query = await vector({ input_type: 'query' })
    expect(query).not.toEqual(await vector({}))
    expect(await vector({ prompt_name: 'query' })).toEqual(query)
    expect(await vector({ prefix: 'Instruct: find the answer\nQuery:' })).toEqual(query)
    expect(Math.hypot(...(await vector({ normalize: false })))).toBeGreaterThan(1.1)
  })

  test('ignores and names what changes nothing', async () => {
    const response = await post(app, { model, input: 'a', user: 'me', dimensions: null, temperature: 0, task: 'x' })
    expect(response.status).toBe(200)
    expect(response.headers.get('x-foretoken-ignored')).toBe('temperature, task')
  })

  test.each<[string, object, string, RegExp]>([
    ['no input', {}, 'input', /input/],
    ['an empty text', { input: '' }, 'input', /must have at least 1 character$|at least 1/],
    ['an empty text among others', { input: ['a', ''] }, 'input[1]', /./],
    ['a hole', { input: ['a', null] }, 'input[1]', /./],
    ['an empty list', { input: [] }, 'input', /./],
    ['texts and ids mixed', { input: ['a', [1]] }, 'input[1]', /./],
    ['an id that is no token', { input: [3, 99_999] }, 'input[1]', /^input\[1\]: 99999 is not a token id of the voc/],
    [
      'one in a list of lists',
      { input: [[1], [2, 99_999]] },
      'input[1][1]',
      /^input\[1\]\[1\]: 99999 is not a token id/,
    ],
    ['an id beyond all vocabularies', { input: [99_999_999] }, 'input[0]', /99999999 is not a token id of the voc/],
    ['half an id', { input: [1.5] }, 'input[0]', /^input\[0\]: 1.5 is not a token id, a whole number from 0$/],
    [
      'a negative id',
      {
        input: [
          [1, 2],
          [3, -1],
        ],
      },
      'input[1][1]',
      /^input\[1\]\[1\]: -1 is not a token id/,
    ],
    ['no number among ids', { input: [1, 'a'] }, 'input[1]', /^input\[1\]: "a" is not a token id/],
    ['an empty list of ids', { input: [[1], []] }, 'input[1]', /^input\[1\]: is an empty list of token ids/],
    ['ids and texts mixed', { input: [[1], 'a'] }, 'input[1]', /is a text among lists of token ids; send them in sep/],
    [
      'no text and no ids',
      { input: [true] },
      'input[0]',
      /^input\[0\]: true is neither a text nor a list of token ids/,
    ],
    ['dimensions above the model’s', { input: 'a', dimensions: 65 }, 'dimensions', /65; embed makes vectors of 64/],
    ['no dimensions', { input: 'a', dimensions: 0 }, 'dimensions', /./],
    ['another encoding', { input: 'a', encoding_format: 'int8' }, 'encoding_format', /./],
    [
      'a prompt of another model',
      { input: 'a', input_type: 'task' },
      'input_type',
      /no prompt named "task"; it has query, document/,
    ],
    ['truncation', { input: 'a', truncate: true }, 'truncate', /refused, not truncated/],
    ['a text beyond the context', { input: 'word '.repeat(600) }, 'input', /more than \d+ tokens/],
  ])('refuses %s with 400', async (_, fields, param, message) => {
    const response = await post(app, { model, ...fields })
    const { error } = (await response.json()) as { error: { param: string | null; message: string } }
    expect([response.status, error.param ?? '']).toEqual([400, param])
    expect(error.message).toMatch(message)
    idle()
  })

  test('refuses another model, another method and no key', async () => {
    expect((await post(app, { model: 'other', input: 'a' })).status).toBe(404)
    expect((await app.request('/v1/embeddings')).status).toBe(401)
    const request = { headers: { authorization: `Bearer ${testKeys.one}` } }
    expect((await app.request('/v1/embeddings', request)).status).toBe(405)
  })

  test('limits the texts and tokens of a request', async () => {
    const small = createApp({ engine, config: { ...config, limits: { texts: 3, textTokens: 20 } } })
    expect((await post(small, { model, input: texts })).status).toBe(200)
    const many = await post(small, { model, input: [...texts, 'x'] })
    expect([many.status, await many.text()]).toEqual([400, expect.stringMatching(/4 texts were sent; at most 3/)])
    const long = await post(small, { model, input: ['x'.repeat(100)] })
    expect([long.status, await long.text()]).toEqual([400, expect.stringMatching(/about 25 tokens; at most 20/)])
  })

  test('counts tokens in the log and the metrics', async () => {
    const lines: unknown[] = []
    const logged = createApp({ engine, config, onRequest: (line) => lines.push(line) })
    await (await post(logged, { model, input: 'abc' })).text()
    expect(lines).toEqual([expect.objectContaining({ route: '/v1/embeddings', status: 200, prompt_tokens: 4, model })])
    const metrics = await logged.request('/metrics', { headers: { authorization: `Bearer ${testKeys.one}` } })
    expect(await metrics.text()).toContain('foretoken_tokens_total{kind="embedded"} 4')
  })

  test('a client that leaves ends the work, and frees its place', async () => {
    const one = createApp({ engine, config: { ...config, limits: { concurrency: 1, waitSeconds: 0 } } })
    const control = new AbortController()
    const many = Array.from({ length: 400 }, (_, i) => `${i} `.repeat(60))
    const left = ask(one, { model, input: many }, { path: '/v1/embeddings', signal: control.signal })
    while (engine.stats.running === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    expect((await post(one, { model, input: 'a' })).status).toBe(503)
    const { prefill_tokens: before } = engine.stats
    control.abort()
    expect((await left).status).toBe(499)
    expect((await post(one, { model, input: 'a' })).status).toBe(200)
    expect(engine.stats.prefill_tokens - before).toBeLessThan(1000)
    idle()
  })

  test('a time limit ends the work with 504', async () => {
    const brief = createApp({ engine, config: { ...config, limits: { requestSeconds: 0.05 } } })
    const many = Array.from({ length: 800 }, (_, i) => `${i} `.repeat(60))
    const response = await post(brief, { model, input: many })
    expect(response.status).toBe(504)
    idle()
  })
})

describe('a chat model', () => {
  test('is refused by name, unless a pooling is chosen; and never ranks', async () => {
    const engine = await tinyEngine()
    try {
      const app = createApp({ engine, config: testConfig })
      const refused = await post(app, { model: 'tiny', input: 'a' })
      const { error } = (await refused.json()) as { error: object }
      expect(refused.status).toBe(400)
      expect(error).toMatchObject({
        code: 'unsupported_value',
        param: 'model',
        message: expect.stringMatching(/not an embedding model/),
      })
      expect((await post(app, { model: 'tiny', input: 'a', pooling: 'mean' })).status).toBe(200)
      const ranked = await post(app, { model: 'tiny', query: 'q', documents: ['d'] }, '/v1/rerank')
      const unranked = expect.stringMatching(/not a reranker/)
      expect([ranked.status, (await ranked.json()).error]).toMatchObject([400, { message: unranked, param: 'model' }])
    } finally {
      await engine.close()
    }
  })
})

describe('a reranker', () => {
  let engine: Engine
  let app: App
  beforeAll(async () => {
    engine = await loadFolder(path('tiny-reranker-qwen3'))
    app = createApp({ engine, config })
  })
  afterAll(() => engine?.close())

  const rank = async (body: object) => {
    const response = await post(app, { model, query: 'where was the man born?', ...body }, '/v1/rerank')
    return { status: response.status, json: (await response.json()) as Ranked }
  }
  interface Ranked {
    readonly results: readonly { index: number; relevance_score: number; document?: { text: string } }[]
    readonly usage: { readonly total_tokens: number }
  }

  test('returns documents by their scores, the best first', async () => {
    const { status, json } = await rank({ documents: texts })
    expect(status).toBe(200)
    const { scores } = await engine.rerank('where was the man born?', texts)
    const order = [0, 1, 2].sort((a, b) => scores[b]! - scores[a]!)
    expect(json.results).toEqual(order.map((index) => ({ index, relevance_score: scores[index] })))
    expect(json).toMatchObject({ object: 'list', model, usage: { total_tokens: expect.any(Number) } })
  })

  test('says whether the query, the instruction or a document is too long, with its tokens and the limit', async () => {
    const long = 'x'.repeat(700)
    const refused = async (body: object) => (await rank({ documents: texts, ...body })).json as unknown as Refused
    interface Refused {
      readonly error: { readonly message: string; readonly param: string; readonly code: string }
    }
    const told = / has (\d+) tokens; the context of 512 leaves (\d+) for it; shorten it, or load with a larger context$/
    for (const [param, body, who] of [
      ['query', { query: long }, /^the query has/],
      ['instruction', { instruction: long }, /^the instruction, with what the model puts around it, has/],
      ['documents', { documents: ['a', 'b', long] }, /^document 2 has/],
    ] as const) {
      const { error } = await refused(body)
      expect(error).toMatchObject({ param, code: 'context_length_exceeded', message: expect.stringMatching(who) })
      const [, has, room] = told.exec(error.message)!.map(Number)
      expect(has).toBeGreaterThan(room!)
      expect(room).toBeGreaterThan(0)
    }
    // As many as there is room for are taken.
    const { message } = (await refused({ query: long })).error
    const fits = Number(told.exec(message)![2]) - 'x'.length
    expect((await rank({ query: 'x'.repeat(fits), documents: ['a'] })).status).toBe(200)
  })

  test('takes objects with texts, TEI’s name, top_n and an instruction', async () => {
    const all = (await rank({ documents: texts })).json
    const { json } = await rank({ texts: texts.map((text) => ({ text })), top_n: 2, return_documents: true })
    expect(json.results).toEqual(
      all.results.slice(0, 2).map((one) => ({ ...one, document: { text: texts[one.index] } })),
    )
    const other = (await rank({ documents: texts, instruction: 'find the town' })).json
    expect(other.results).not.toEqual(all.results)
  })

  test.each([
    ['no documents', { documents: [] }, 'documents', 'documents: must have at least 1 element'],
    ['a document without text', { documents: [{ title: 'x' }] }, 'documents[0].text'],
    ['a hole', { documents: ['a', null] }, 'documents[1]'],
    ['no query', { documents: ['a'], query: '' }, 'query', 'query: must have at least 1 character'],
    ['no results', { documents: ['a'], top_n: 0 }, 'top_n', 'top_n: must be at least 1'],
  ])('refuses %s', async (_, body, param, message = '') => {
    const { status, json } = await rank(body)
    expect([status, (json as unknown as { error: { param: string } }).error.param]).toEqual([400, param])
    expect(json).toMatchObject({ error: { message: expect.stringContaining(message) } })
  })
})
