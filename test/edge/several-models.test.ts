/** An app over several models: each request chooses one by its name, and gets it loaded. */
import { Ollama } from 'ollama'
import OpenAI from 'openai'
import { afterEach, describe, expect, test } from 'vitest'
import { createApp, type HostContext, type LogLine, type ServerConfig } from '../../edge/index.ts'
import type { App } from '../../edge/server.ts'
import { loadWasm, reclaimMemory } from '../../node/index.ts'
import { Engine, ForetokenError, ModelPool, type ModelPoolOptions, type TextService } from '../../src/index.ts'
import { answering, messages } from '../helpers/answering.ts'
import { ask, chatBody, refusal } from '../helpers/ask.ts'
import { sparseModel } from '../helpers/sparse-model.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { testConfig, testKeys } from '../helpers/tiny-server.ts'

const wasm = await loadWasm('simd128', 1)
const contexts = { chat: 1024, small: 256, embedder: 512 } as const
type Name = keyof typeof contexts

async function load(name: Name): Promise<Engine> {
  return Engine.load(tinyFiles({ context: contexts[name], seed: name.length }), { wasm, threads: 1 })
}

interface World {
  readonly app: App
  readonly pool: ModelPool<HostContext>
  readonly loads: string[]
  readonly lines: LogLine[]
  readonly drain: AbortController
}

const closing: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

interface Making {
  readonly config?: ServerConfig
  readonly options?: ModelPoolOptions
  readonly loadOf?: (name: Name, signal: AbortSignal) => Promise<TextService>
  readonly bytes?: number
}

function worldOf({ config, options, loadOf = load, bytes = 0 }: Making = {}): World {
  const loads: string[] = []
  const names = Object.keys(contexts) as Name[]
  const pool = new ModelPool<HostContext>(
    names.map((name) => ({
      name,
      bytes: () => bytes,
      load: ({ signal }) => {
        loads.push(name)
        return loadOf(name, signal)
      },
    })),
    options,
  )
  const lines: LogLine[] = []
  const drain = new AbortController()
  const app = createApp({
    models: pool,
    config: { ...testConfig, ...config },
    drain: drain.signal,
    onRequest: (line) => lines.push(line),
  })
  closing.push(() => pool.close())
  return { app, pool, loads, lines, drain }
}

const states = async (app: App) => {
  const { data } = await (await ask(app, undefined, { path: '/v1/models' })).json()
  return Object.fromEntries(data.map(({ id, foretoken }: { id: string; foretoken: object }) => [id, foretoken]))
}
const uses = ({ pool }: World) => pool.models.map(({ uses, waiting }) => uses + waiting)
const settled = async (world: World) => {
  while (uses(world).some((count) => count > 0)) await new Promise((resolve) => setImmediate(resolve))
}
const until = async (done: () => boolean) => {
  while (!done()) await new Promise((resolve) => setImmediate(resolve))
}
describe('a request', () => {
  test.each<readonly [string, object]>([
    ...answering,
    ['/v1/embeddings', { input: 'a', pooling: 'mean' }],
    ['/v1/messages/count_tokens', { messages }],
    ['/api/show', {}],
  ])('to %s is answered by the model that it names, which it gives back', async (path, body) => {
    const world = worldOf()
    for (const model of ['small', 'chat', 'small:latest'].slice(0, path.startsWith('/api') ? 3 : 2)) {
      const response = await ask(world.app, { model, ...body }, { path })
      expect(response.status).toBe(200)
      await response.text()
      await settled(world)
    }
    expect(world.loads).toEqual(['small', 'chat'])
    expect(world.lines.map(({ model }) => model).slice(0, 2)).toEqual(['small', 'chat'])
  })

  test('to rerank chooses by name as well: a model that ranks nothing is refused as such', async () => {
    const world = worldOf()
    const body = { model: 'small', query: 'a', documents: ['b'] }
    const refused = await refusal(await ask(world.app, body, { path: '/v1/rerank' }))
    expect(refused).toMatchObject({ status: 400, code: 'unsupported_value' })
    expect([world.loads, uses(world)]).toEqual([['small'], [0, 0, 0]])
  })

  test('for a model that is not there is a 404 with the nearest names, and loads nothing', async () => {
    const { app, loads } = worldOf()
    const refused = await refusal(await ask(app, chatBody({ model: 'smal' })))
    expect(refused).toMatchObject({ status: 404, code: 'model_not_found', param: 'model' })
    expect(refused.message).toBe(
      'there is no model "smal" here; the nearest is small; GET /v1/models lists the available ones',
    )
    expect((await ask(app, undefined, { path: '/v1/models/smal' })).status).toBe(404)
    expect((await ask(app, chatBody({ model: 'x'.repeat(300_000) }))).status).toBeGreaterThanOrEqual(400)
    expect(loads).toEqual([])
  })

  test('may use another name of the config, which lists and answers show', async () => {
    const { app, loads, lines } = worldOf({ config: { aliases: { 'gpt-4o-mini': 'chat' } } })
    const answer = await (await ask(app, chatBody({ model: 'gpt-4o-mini' }))).json()
    expect(answer.model).toBe('gpt-4o-mini')
    expect([loads, lines[0]?.model]).toEqual([['chat'], 'chat'])
    expect(await states(app)).toMatchObject({
      chat: { state: 'loaded', requests: 0, context: 1024, memory_bytes: expect.any(Number) },
      'gpt-4o-mini': { state: 'loaded', model: 'chat' },
      small: { state: 'unloaded' },
    })
    expect((await states(app)).small.memory_bytes).toBeUndefined()
  })

  test('is limited by the context of its own model', async () => {
    const { app } = worldOf()
    const long = chatBody({ messages: [{ role: 'user', content: 'x'.repeat(400) }] })
    expect((await ask(app, { ...long, model: 'chat' })).status).toBe(200)
    expect(await refusal(await ask(app, { ...long, model: 'small' }))).toMatchObject({
      status: 400,
      code: 'context_length_exceeded',
    })
  })

  test('finds the prefixes of its own tenant and model only', async () => {
    const { app } = worldOf()
    const cached = async (model: string, key: string) => {
      const body = chatBody({
        model,
        messages: [{ role: 'user', content: 'a prompt of more than one page of tokens' }],
      })
      const { usage } = await (await ask(app, body, { key })).json()
      return usage.prompt_tokens_details.cached_tokens
    }
    expect(await cached('chat', testKeys.one)).toBe(0)
    expect(await cached('small', testKeys.one)).toBe(0)
    expect(await cached('chat', testKeys.two)).toBe(0)
    expect(await cached('chat', testKeys.one)).toBeGreaterThan(0)
  })

  test('works with unmodified clients, which list the models', async () => {
    const { app } = worldOf()
    const fetcher = async (input: RequestInfo | URL, init?: RequestInit) => app.fetch(new Request(input, init))
    const client = new OpenAI({ baseURL: 'http://app.test/v1', apiKey: testKeys.one, fetch: fetcher, maxRetries: 0 })
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(['chat', 'small', 'embedder'])
    const { model } = await client.chat.completions.create({
      model: 'small',
      max_tokens: 1,
      messages: [{ role: 'user', content: 'a' }],
    })
    expect(model).toBe('small')
    const headers = { authorization: `Bearer ${testKeys.one}` }
    const ollama = new Ollama({ host: 'http://app.test', fetch: fetcher as typeof fetch, headers })
    expect((await ollama.list()).models.map(({ name }) => name)).toEqual([
      'chat:latest',
      'small:latest',
      'embedder:latest',
    ])
    expect((await ollama.ps()).models.map(({ name }) => name)).toEqual(['small:latest'])
  })
})

describe('a load', () => {
  test('is shared by all who wait, and outlives those who leave', async () => {
    const gate = Promise.withResolvers<void>()
    const world = worldOf({
      loadOf: async (name) => {
        await gate.promise
        return load(name)
      },
    })
    const control = new AbortController()
    const left = ask(world.app, chatBody({ model: 'chat' }), { signal: control.signal })
    const others = [ask(world.app, chatBody({ model: 'chat' })), ask(world.app, chatBody({ model: 'chat' }))]
    await until(() => world.loads.length > 0)
    expect((await states(world.app)).chat.state).toBe('loading')
    control.abort()
    expect((await left).status).toBe(499)
    gate.resolve()
    for (const other of others) expect((await other).status).toBe(200)
    await settled(world)
    expect(world.loads).toEqual(['chat'])
    expect(world.lines.find(({ status }) => status === 499)).toMatchObject({ aborted: 'gone' })
  })

  test('that fails is a 503 that names no file, and the next request tries again', async () => {
    let tries = 0
    const world = worldOf({
      loadOf: async (name) => {
        if (++tries === 1) throw new ForetokenError('io', '/home/somebody/secret.gguf: broken')
        return load(name)
      },
    })
    const failed = await ask(world.app, chatBody({ model: 'chat' }))
    expect(failed.headers.get('retry-after')).toBe('5')
    const told = await refusal(failed)
    expect(told).toMatchObject({ status: 503, code: 'model_not_loaded' })
    expect(told.message).not.toContain('secret')
    expect((await ask(world.app, chatBody({ model: 'chat' }))).status).toBe(200)
  })

  test('that would fail again says why, promises nothing, and is listed as failed until it is loaded', async () => {
    let broken = true
    const why =
      '/home/some body/models/chat.gguf tensor "a" needs bytes 7..9 of a file of 8; get https://internal.example/a/b.gguf again'
    const { app, lines } = worldOf({
      loadOf: async (name) => {
        if (broken) throw new ForetokenError('bad_model', why)
        return load(name)
      },
    })
    const message =
      'chat can\'t be loaded: chat.gguf tensor "a" needs bytes 7..9 of a file of 8; get b.gguf again (bad_model); ' +
      'use another model until that is mended'
    const made = { model: 'chat', messages, max_tokens: 2 }
    for (const [path, body, status, error] of [
      ['/v1/chat/completions', made, 503, { message, code: 'model_not_loaded', type: 'server_error' }],
      ['/v1/embeddings', { model: 'chat', input: 'a' }, 503, { message, code: 'model_not_loaded' }],
      ['/v1/messages', made, 500, { message, type: 'api_error' }],
      ['/api/chat', { model: 'chat', messages }, 503, message],
    ] as const) {
      const response = await ask(app, body, { path })
      expect([path, response.status, response.headers.get('retry-after')]).toEqual([path, status, null])
      expect(response.headers.get('x-should-retry')).toBe('false')
      const told = (await response.json()).error
      if (typeof error === 'string') expect(told).toBe(error)
      else expect(told).toMatchObject(error)
    }
    // The log of the server has the path.
    expect(lines[0]).toMatchObject({ status: 503, cause: why })
    expect(await states(app)).toMatchObject({
      chat: { state: 'failed', error: { code: 'model_not_loaded', message } },
      small: { state: 'unloaded' },
    })
    broken = false
    expect((await ask(app, chatBody({ model: 'chat' }))).status).toBe(200)
    const { chat } = await states(app)
    expect([chat.state, chat.error]).toEqual(['loaded', undefined])
  })

  test('that has no room says what holds it, and that it may be tried again', async () => {
    let free = 3e9
    const { app } = worldOf({ bytes: 2e9, options: { room: () => free } })
    expect((await ask(app, chatBody({ model: 'small' }))).status).toBe(200)
    free = 1e9
    const response = await ask(app, { model: 'chat', messages, max_tokens: 1 }, { path: '/v1/messages' })
    expect([response.status, response.headers.get('retry-after')]).toEqual([529, '5'])
    expect((await response.json()).error.message).toMatch(
      /^chat takes about 2000 MB; 1000 MB are free, .*; in memory now: small \(\d+ MB, idle\); try again when memory is free$/,
    )
    expect(await states(app)).toMatchObject({
      chat: { state: 'failed', error: { code: 'out_of_memory' } },
      small: { state: 'loaded' },
    })
  })

  test('that cannot fit is a 503 with the numbers', async () => {
    const { app, loads } = worldOf({ bytes: 2e9, options: { room: () => 1.5e9 } })
    for (const [path, body] of [
      ['/v1/chat/completions', chatBody({ model: 'chat' })],
      ['/v1/embeddings', { model: 'chat', input: 'a' }],
    ] as const)
      expect(await refusal(await ask(app, body, { path }))).toMatchObject({
        status: 503,
        code: 'out_of_memory',
        message: expect.stringMatching(/^chat takes about 2000 MB; 1500 MB are free, so 500 MB are missing/),
      })
    expect(loads).toEqual([])
  })

  test('waits for a stream in its place, which goes on to its end', async () => {
    const world = worldOf({ options: { keep: 1 } })
    const stream = await ask(world.app, chatBody({ model: 'chat', stream: true, max_tokens: 400 }))
    const reader = stream.body!.getReader()
    await reader.read()
    const other = ask(world.app, chatBody({ model: 'small' }))
    await until(() => world.pool.models.some(({ waiting }) => waiting > 0))
    let text = ''
    for (const decoder = new TextDecoder(); ; ) {
      const { done, value } = await reader.read()
      if (done) break
      text += decoder.decode(value, { stream: true })
      if (!text.includes('[DONE]')) expect(world.loads).toEqual(['chat'])
    }
    expect(text).toContain('[DONE]')
    expect((await other).status).toBe(200)
    expect(await states(world.app)).toMatchObject({ chat: { state: 'unloaded' }, small: { state: 'loaded' } })
  })

  test('does not stop the streams of other models: their tokens come while weights are read', async () => {
    const large = sparseModel('token_embd.weight', 'q8_0', [2048, 40_000], { hidden: 2048, layers: 1, type: 'q8_0' })
    const world = worldOf({
      loadOf: (name) => (name === 'small' ? Engine.load(large.files, { wasm, threads: 1, context: 64 }) : load(name)),
    })
    const body = chatBody({ model: 'chat', stream: true, max_tokens: 900, ignore_eos: true })
    const stream = await ask(world.app, body)
    const reader = stream.body!.getReader()
    await reader.read()
    const other = ask(world.app, chatBody({ model: 'small', max_tokens: 1 }))
    /** How much was read when each piece of the stream came. */
    const progress = new Set<number>()
    while (!(await reader.read()).done) progress.add(large.read.length)
    expect((await other).status).toBe(200)
    // 87 MB are read, and the stream has a turn after each 16.
    const between = [...progress].filter((reads) => reads > 0 && reads < large.read.length)
    expect(large.read.length).toBeGreaterThan(100)
    expect(between.length).toBeGreaterThanOrEqual(4)
  })

  test('takes the place of a stream whose client has left', async () => {
    const world = worldOf({ options: { keep: 1 } })
    const stream = await ask(world.app, chatBody({ model: 'chat', stream: true, max_tokens: 900 }))
    const other = ask(world.app, chatBody({ model: 'small' }))
    await until(() => world.pool.models.some(({ waiting }) => waiting > 0))
    await stream.body!.cancel()
    expect((await other).status).toBe(200)
  })

  test('finds the memory of what left for it free: no frame that waits refers to an engine', async () => {
    const freed: boolean[] = []
    const engines: WeakRef<Engine>[] = []
    const world = worldOf({
      options: { keep: 1 },
      loadOf: async (name) => {
        const left = () => engines.filter((engine) => engine.deref() !== undefined)
        // What ends a stream may take some turns of a busy machine; a frame that waits refers for good.
        for (let turn = 0; turn < 100 && (turn === 0 || left().length > 0); turn++) {
          await new Promise((resolve) => setTimeout(resolve, 20))
          reclaimMemory()
        }
        freed.push(...engines.map((engine) => engine.deref() === undefined))
        const engine = await load(name)
        engines.push(new WeakRef(engine))
        return engine
      },
    })
    const stream = await ask(world.app, chatBody({ model: 'chat', stream: true, max_tokens: 30 }))
    const others = ['small', 'embedder'].map((model) => ask(world.app, chatBody({ model })))
    await stream.text()
    for (const other of others) expect((await other).status).toBe(200)
    expect(freed).toEqual([true, true, true])
  })

  test('ends with the server: who waits is told, and nothing stays loaded', async () => {
    const world = worldOf({
      loadOf: (_, signal) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true })),
    })
    const waiting = ask(world.app, chatBody({ model: 'chat' }))
    await until(() => world.loads.length > 0)
    world.drain.abort()
    expect(await refusal(await waiting)).toMatchObject({ status: 503, code: 'stopping' })
    await world.pool.close()
    expect(world.pool.models.map(({ state }) => state)).toEqual(['unloaded', 'unloaded', 'unloaded'])
  })
})

test('keep_alive says how long a model stays', async () => {
  const world = worldOf()
  const generate = async (keep_alive: unknown, more: object = {}) =>
    ask(world.app, { model: 'chat', prompt: '', stream: false, keep_alive, ...more }, { path: '/api/generate' })
  const expiry = async () => {
    const { models } = await (await ask(world.app, undefined, { path: '/api/ps' })).json()
    return models.map(({ expires_at }: { expires_at: string }) => (Date.parse(expires_at) - Date.now()) / 60_000)
  }
  expect(await (await generate('1h30m')).json()).toMatchObject({ done_reason: 'load' })
  expect((await expiry())[0]).toBeGreaterThan(80)
  expect((await expiry())[0]).toBeLessThan(91)
  // Times that no date and no timer can hold are as good as no end.
  for (const long of [99_999_999_999_999, 1e308, '99999999999h', -1]) {
    expect(await (await generate(long)).json()).toMatchObject({ done_reason: 'load' })
    expect((await expiry())[0]).toBeGreaterThan(1e6)
    expect(world.pool.models[0]).toMatchObject({ state: 'loaded' })
  }
  for (const bad of ['soon', '', {}]) expect((await generate(bad)).status).toBe(400)
  expect(await (await generate(0)).json()).toMatchObject({ done_reason: 'unload' })
  await until(() => world.pool.models[0]?.state === 'unloaded')
  expect(await expiry()).toEqual([])

  // A model that is not loaded is not loaded to be unloaded, and one in use goes when its use ends.
  const before = world.loads.length
  for (const [path, more] of [
    ['/api/generate', {}],
    ['/api/generate', { prompt: null }],
    ['/api/chat', { messages: [] }],
    ['/api/chat', { keep_alive: '0s', stream: true }],
  ] as const) {
    const body = { model: 'chat:latest', keep_alive: 0, ...more }
    const answer = await (await ask(world.app, body, { path })).json()
    expect(answer).toMatchObject({ model: 'chat:latest', done: true, done_reason: 'unload', load_duration: 0 })
  }
  expect((await ask(world.app, { model: 'nobody', keep_alive: 0 }, { path: '/api/generate' })).status).toBe(404)
  expect(world.loads).toHaveLength(before)
  const lease = await world.pool.use('chat')
  await generate(0)
  expect(world.pool.models[0]).toMatchObject({ state: 'loaded', uses: 1 })
  lease.release()
  await until(() => world.pool.models[0]?.state === 'unloaded')
  // That was for then: the model stays after its next use as it is configured.
  ;(await world.pool.use('chat')).release()
  expect(world.pool.models[0]).toMatchObject({ state: 'loaded', leavesInMs: undefined })
})

test('metrics tell of each model, and readiness needs none', async () => {
  const { app } = worldOf()
  expect((await ask(app, undefined, { path: '/readyz' })).status).toBe(200)
  for (const model of ['chat', 'small']) await ask(app, chatBody({ model }))
  await ask(app, { model: 'embedder', input: 'a b c', pooling: 'mean' }, { path: '/v1/embeddings' })
  const text = await (await ask(app, undefined, { path: '/metrics' })).text()
  for (const line of [
    'foretoken_ready 1',
    'foretoken_tokens_total{model="chat",kind="completion"} 4',
    'foretoken_tokens_total{model="small",kind="completion"} 4',
    'foretoken_ttft_seconds_count{model="small",prefill="exact"} 1',
    'foretoken_model_loaded{model="embedder"} 1',
    'foretoken_model_loads_total{model="chat",outcome="loaded"} 1',
    'foretoken_model_loads_total{model="chat",outcome="failed"} 0',
    'foretoken_model_requests{model="chat"} 0',
    'foretoken_running{model="embedder"} 0',
  ])
    expect(text.split('\n')).toContain(line)
  expect(text).toMatch(/^foretoken_tokens_total\{model="embedder",kind="embedded"\} [1-9]/m)
  // Each metric has its head once.
  const heads = text.split('\n').filter((line) => line.startsWith('# TYPE'))
  expect(new Set(heads).size).toBe(heads.length)
  for (const line of text.trimEnd().split('\n'))
    expect(line).toMatch(/^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{([a-z]+="[^"\n]*",?)+\})? -?[\d.e+-]+)$/)
})

test.each<[string, object, RegExp]>([
  ['no engine', {}, /needs an engine, or models/],
  ['both', { engine: async () => load('chat'), models: poolOfOne() }, /not both/],
  ['names of one model', { models: poolOfOne(), config: { models: ['a'] } }, /config\.models names one model/],
  [
    'an alias of nothing',
    { models: poolOfOne(), config: { aliases: { b: 'c' } } },
    /for c, which is not served; served are a$/,
  ],
  [
    'an alias that is a name',
    { models: poolOfOne(), config: { aliases: { a: 'a' } } },
    /is the name of a model itself/,
  ],
  [
    'an alias that no object can hold',
    { models: poolOfOne(), config: { aliases: JSON.parse('{"__proto__":"a"}') } },
    /wrong at aliases: __proto__ cannot be/,
  ],
  [
    'an alias that no request can send',
    { models: poolOfOne(), config: { aliases: { 'b\nc': 'a' } } },
    /wrong at aliases: "b\\nc" has control characters/,
  ],
  [
    'a name that no request can send',
    { engine: async () => load('chat'), config: { models: ['b\tc'] } },
    /wrong at models\.0: "b\\tc" has control characters/,
  ],
])('an app with %s is refused', (_, { config, ...options }: { config?: ServerConfig }, message) => {
  expect(() => createApp({ ...options, config: { ...testConfig, ...config } })).toThrow(message)
})

function poolOfOne() {
  return new ModelPool([{ name: 'a', load: async () => load('chat') }])
}
