/** A pool of models loads each once, keeps what is in use, and gives everything back. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { ForetokenError, ModelPool, type ModelPoolOptions, type PooledModel } from '../../src/index.ts'
import { type FakeEngine, fakeEngine } from '../helpers/fake-engine.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

const turns = async () => {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
}

interface Made {
  readonly pool: ModelPool
  readonly engines: FakeEngine[]
  /** Names of the models, in the order in which their loads began. */
  readonly loads: string[]
}

/** Makes a pool of models of these sizes in bytes, which load at once. */
function poolOf(sizes: Readonly<Record<string, number>>, options: ModelPoolOptions = {}): Made {
  const engines: FakeEngine[] = []
  const loads: string[] = []
  const models = Object.entries(sizes).map(
    ([name, bytes]): PooledModel => ({
      name,
      bytes: () => bytes,
      async load() {
        loads.push(name)
        const engine = fakeEngine(name, bytes)
        engines.push(engine)
        return engine
      },
    }),
  )
  return { pool: new ModelPool(models, options), engines, loads }
}

const states = (pool: ModelPool) => Object.fromEntries(pool.models.map(({ name, state }) => [name, state]))
const failureOf = (work: Promise<unknown>) =>
  work.then(
    () => 'none',
    (error: ForetokenError) => error,
  )

describe('a use', () => {
  test('loads a model once for all who ask, and later ones find it', async () => {
    const { pool, loads } = poolOf({ a: 1, b: 1 })
    const leases = await Promise.all([pool.use('a'), pool.use('b'), pool.use('a')])
    expect(leases.map(({ name }) => name)).toEqual(['a', 'b', 'a'])
    expect(leases[0]?.engine).toBe(leases[2]?.engine)
    expect((await pool.use('a')).engine).toBe(leases[0]?.engine)
    expect(loads).toEqual(['a', 'b'])
    await pool.close()
  })

  test.each([
    ['one', 'smolm2', /the nearest are smollm2$/],
    ['no', 'x', /it has smollm2, qwen3$/],
  ])('of an unknown model names the nearest: %s', async (_, name, message) => {
    const { pool } = poolOf({ smollm2: 1, qwen3: 1 })
    expect(await failureOf(pool.use(name))).toMatchObject({
      code: 'not_found',
      message: expect.stringMatching(message),
    })
  })

  test('gets the failure of a load, and the next one tries again', async () => {
    let tries = 0
    const load = async () => {
      if (++tries === 1) throw new ForetokenError('bad_model', 'a broken file')
      return fakeEngine('a')
    }
    const pool = new ModelPool([{ name: 'a', load }])
    const both = [pool.use('a'), pool.use('a')].map(failureOf)
    expect(await Promise.all(both)).toMatchObject([{ code: 'bad_model' }, { code: 'bad_model' }])
    expect((await pool.use('a')).name).toBe('a')
    expect(pool.models).toMatchObject([{ loads: 1, failures: 1, uses: 1 }])
  })

  test('that ends during a load spoils it for nobody', async () => {
    const load = Promise.withResolvers<FakeEngine>()
    const pool = new ModelPool([{ name: 'a', load: () => load.promise }])
    const control = new AbortController()
    const first = failureOf(pool.use('a', { signal: control.signal }))
    const second = pool.use('a')
    await turns()
    control.abort()
    expect(await first).toMatchObject({ code: 'aborted' })
    load.resolve(fakeEngine('a'))
    expect((await second).name).toBe('a')
  })

  test('that nobody waits for any more leaves the model loaded for the next', async () => {
    const { pool, loads } = poolOf({ a: 1 }, { idleMs: 1000 })
    const control = new AbortController()
    const left = failureOf(pool.use('a', { signal: control.signal }))
    await Promise.resolve()
    control.abort()
    await left
    await turns()
    // It left before the load began.
    expect(loads).toEqual([])
    const lease = await pool.use('a')
    lease.release()
    vi.advanceTimersByTime(1000)
    await turns()
    expect(states(pool)).toEqual({ a: 'unloaded' })
  })

  test.each([
    ['nothing', async () => undefined],
    ['no engine', async () => ({})],
    ['a failure that is no error', () => Promise.reject('why')],
    [
      'an error at once',
      () => {
        throw new Error('now')
      },
    ],
  ])('of a model whose load gives %s fails with a code', async (_, load) => {
    const pool = new ModelPool([{ name: 'a', load: load as never }])
    expect(await failureOf(pool.use('a'))).toBeInstanceOf(ForetokenError)
    expect(states(pool)).toEqual({ a: 'unloaded' })
    await pool.close()
  })
})

describe('the place of a model', () => {
  test('is that of the one used least recently', async () => {
    const { pool, loads } = poolOf({ a: 1, b: 1, c: 1 }, { keep: 2 })
    for (const name of ['a', 'b', 'a', 'c']) (await pool.use(name)).release()
    expect(states(pool)).toEqual({ a: 'loaded', b: 'unloaded', c: 'loaded' })
    expect(loads).toEqual(['a', 'b', 'c'])
  })

  test('is taken only as memory asks for it, and at exactly its size not at all', async () => {
    let free = 100
    const { pool, engines } = poolOf({ a: 40, b: 60, c: 1 }, { room: () => free })
    for (const [name, bytes] of [
      ['a', 40],
      ['b', 60],
    ] as const) {
      ;(await pool.use(name)).release()
      free -= bytes
    }
    expect(states(pool)).toMatchObject({ a: 'loaded', b: 'loaded' })
    ;(await pool.use('c')).release()
    expect(states(pool)).toEqual({ a: 'unloaded', b: 'loaded', c: 'loaded' })
    expect(engines.map(({ closes }) => closes)).toEqual([1, 0, 0])
  })

  test('that cannot be made is refused with the numbers, and nothing is unloaded for it', async () => {
    let free = 100e6
    const { pool, engines } = poolOf({ small: 60e6, large: 101e6 }, { room: () => free })
    ;(await pool.use('small')).release()
    free -= 60e6
    expect(await failureOf(pool.use('large'))).toMatchObject({
      code: 'out_of_memory',
      message:
        'large takes about 101 MB; 40 MB are free, and 60 MB more without the other models, so 1 MB are missing; ' +
        'use a smaller model, or one in fewer bits',
    })
    expect(engines[0]?.closes).toBe(0)
  })

  test('is that of an idle model before that of one in use', async () => {
    const { pool } = poolOf({ a: 1, b: 1, c: 1 }, { keep: 2 })
    const held = await pool.use('a')
    ;(await pool.use('b')).release()
    await pool.use('c')
    expect(states(pool)).toEqual({ a: 'loaded', b: 'unloaded', c: 'loaded' })
    held.release()
  })

  test('is not taken while it is in use, however long, and later uses of it wait behind', async () => {
    const { pool, engines, loads } = poolOf({ a: 1, b: 1 }, { keep: 1 })
    const held = await pool.use('a')
    const other = pool.use('b')
    await turns()
    const later = pool.use('a')
    await turns()
    expect(engines[0]?.closes).toBe(0)
    expect(pool.models).toMatchObject([{ uses: 1, waiting: 1 }, { waiting: 1 }])
    held.release()
    const second = await other
    expect(engines[0]?.closes).toBe(1)
    await turns()
    expect(loads).toEqual(['a', 'b'])
    second.release()
    expect((await later).name).toBe('a')
    expect(loads).toEqual(['a', 'b', 'a'])
  })

  test('is free again for those behind when whoever wanted it leaves', async () => {
    const { pool, loads } = poolOf({ a: 1, b: 1 }, { keep: 1 })
    await pool.use('a')
    const control = new AbortController()
    const other = failureOf(pool.use('b', { signal: control.signal }))
    await turns()
    const later = pool.use('a')
    control.abort()
    expect(await other).toMatchObject({ code: 'aborted' })
    expect((await later).name).toBe('a')
    expect(loads).toEqual(['a'])
  })

  test('is waited for a limited time, and the refusal says for whom', async () => {
    const { pool } = poolOf({ a: 1, b: 1 }, { keep: 1, waitMs: 5000 })
    await pool.use('a')
    const other = failureOf(pool.use('b'))
    await turns()
    vi.advanceTimersByTime(4999)
    await turns()
    expect(pool.models[1]).toMatchObject({ waiting: 1 })
    vi.advanceTimersByTime(1)
    expect(await other).toMatchObject({
      code: 'busy',
      message: 'b waited 5 s for the place of models in use: a (1 request); try again',
    })
    expect((await pool.use('a')).name).toBe('a')
  })

  test('is given back before it is measured again', async () => {
    const calls: string[] = []
    const options = {
      room: () => 10 - (calls.includes('reclaimed') ? 0 : 1),
      reclaim: (now: boolean) => calls.push(now ? 'reclaimed' : 'later'),
    }
    const { pool } = poolOf({ a: 9, b: 10 }, options)
    ;(await pool.use('a')).release()
    await pool.use('b')
    expect(calls).toEqual(['reclaimed'])
  })
})

describe('an idle model', () => {
  test('is unloaded at the end of its time, which begins with its last release', async () => {
    const { pool } = poolOf({ a: 1 }, { idleMs: 1000 })
    const [one, two] = [await pool.use('a'), await pool.use('a')]
    one?.release()
    one?.release()
    vi.advanceTimersByTime(5000)
    await turns()
    expect(states(pool)).toEqual({ a: 'loaded' })
    two?.release()
    expect(pool.models[0]?.leavesInMs).toBe(1000)
    vi.advanceTimersByTime(999)
    ;(await pool.use('a')).release()
    vi.advanceTimersByTime(999)
    await turns()
    expect(states(pool)).toEqual({ a: 'loaded' })
    vi.advanceTimersByTime(1)
    await turns()
    expect(states(pool)).toEqual({ a: 'unloaded' })
    expect(vi.getTimerCount()).toBe(0)
  })

  test('may stay for longer than a timer can count', async () => {
    const month = 31 * 86_400_000
    const { pool } = poolOf({ a: 1 }, { idleMs: month })
    ;(await pool.use('a')).release()
    vi.advanceTimersByTime(month - 1)
    await turns()
    expect(states(pool)).toEqual({ a: 'loaded' })
    vi.advanceTimersByTime(1)
    await turns()
    expect(states(pool)).toEqual({ a: 'unloaded' })
  })

  test('leaves when its last use said so', async () => {
    const { pool } = poolOf({ a: 1 })
    ;(await pool.use('a', { idleMs: 0 })).release()
    vi.advanceTimersByTime(1)
    await turns()
    expect(states(pool)).toEqual({ a: 'unloaded' })
  })
})

describe('closing', () => {
  test('ends waits and loads, and closes what is loaded, and what loads too late', async () => {
    const load = Promise.withResolvers<FakeEngine>()
    const signals: AbortSignal[] = []
    const engine = fakeEngine('b')
    const pool = new ModelPool([
      { name: 'a', engine: fakeEngine('a') },
      { name: 'b', load: async () => engine },
      {
        name: 'c',
        load: ({ signal }) => {
          signals.push(signal)
          return load.promise
        },
      },
    ])
    await pool.use('b')
    const waits = failureOf(pool.use('c'))
    await turns()
    const closed = Promise.all([pool.close(), pool.close()])
    expect(await waits).toMatchObject({ code: 'aborted' })
    expect(signals[0]?.aborted).toBe(true)
    const late = fakeEngine('c')
    load.resolve(late)
    await closed
    expect([engine.closes, late.closes]).toEqual([1, 1])
    // The engine that was given is its owner's.
    expect((pool.engineOf('a') as FakeEngine).closes).toBe(0)
    expect(await failureOf(pool.use('b'))).toMatchObject({ code: 'aborted' })
  })
})

test.each<[string, () => unknown, RegExp]>([
  ['no models', () => new ModelPool([]), /at least one/],
  ['two of one name', () => poolOfNames('a', 'a'), /two models have one name: a, a/],
  ['no function', () => new ModelPool([{ name: 'a', load: 3 as never }]), /load is 3/],
  ['no name', () => new ModelPool([{ load: async () => fakeEngine('a') } as never]), /name is undefined/],
  ['no engine', () => new ModelPool([{ name: 'a', engine: {} as never }]), /an engine/],
  ['bytes below 0', () => new ModelPool([{ name: 'a', bytes: -1, load: async () => fakeEngine('a') }]), /bytes is -1/],
  ['nothing to keep', () => poolOf({ a: 1 }, { keep: 0 }), /keep is 0/],
  ['a time before now', () => poolOf({ a: 1 }, { idleMs: -1 }), /idleMs is -1/],
  ['no time', () => poolOf({ a: 1 }, { waitMs: Number.NaN }), /waitMs is NaN/],
])('refuses %s', (_, make, message) => expect(make).toThrow(message))

function poolOfNames(...names: string[]) {
  return new ModelPool(names.map((name) => ({ name, load: async () => fakeEngine(name) })))
}
