/**
 * Random uses, cancels, failures, idle times and calls from inside of callbacks: a pool never has
 * more in memory than it may, never unloads what is in use, loads each model once for all who wait,
 * and leaves nothing behind.
 */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type ForetokenError, type ModelLease, ModelPool } from '../../src/index.ts'
import { type FakeEngine, fakeEngine } from '../helpers/fake-engine.ts'
import fc from '../helpers/properties.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

const names = ['a', 'b', 'c', 'd'] as const
const sizes = { a: 10, b: 20, c: 35, d: 200 } as const
const idleMs = 100
const waitMs = 1000

/** What a test does next, or what a callback does when it is called. */
type Deed =
  | { readonly kind: 'use'; readonly model: number; readonly idle?: number | undefined }
  | { readonly kind: 'leave' | 'release' | 'load' | 'fail' | 'closed'; readonly which: number }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'close' }

const places = ['load', 'bytes', 'room', 'reclaim', 'engine.close', 'given', 'failed'] as const

const which = fc.nat(20)
const deed: fc.Arbitrary<Deed> = fc.oneof(
  {
    weight: 30,
    arbitrary: fc.record({
      kind: fc.constant('use' as const),
      model: fc.nat(3),
      idle: fc.option(fc.constantFrom(0, 50, 500), { nil: undefined, freq: 10 }),
    }),
  },
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('leave' as const), which }) },
  { weight: 24, arbitrary: fc.record({ kind: fc.constant('release' as const), which }) },
  { weight: 20, arbitrary: fc.record({ kind: fc.constant('load' as const), which }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('fail' as const), which }) },
  { weight: 16, arbitrary: fc.record({ kind: fc.constant('closed' as const), which }) },
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.constantFrom(1, idleMs, waitMs) }),
  },
)
const script = fc.record({
  place: fc.constantFrom(...places),
  nth: fc.nat(4),
  deed: fc.oneof({ weight: 20, arbitrary: deed }, { weight: 1, arbitrary: fc.constant({ kind: 'close' } as const) }),
})

interface Script {
  readonly place: (typeof places)[number]
  nth: number
  readonly deed: Deed
}

interface Use {
  readonly name: string
  readonly control: AbortController
  lease?: ModelLease
  error?: ForetokenError
  released: boolean
}

interface Pending<T> {
  readonly name: string
  readonly promise: PromiseWithResolvers<T>
  settled: boolean
}

class World {
  readonly pool: ModelPool
  readonly uses: Use[] = []
  readonly loads: Pending<FakeEngine>[] = []
  readonly closings: Pending<void>[] = []
  /** Engines that were loaded, with whether their close has ended. */
  readonly engines: { readonly name: string; readonly engine: FakeEngine; gone: boolean }[] = []
  readonly keep: number
  readonly memory: number
  readonly faults: string[] = []
  readonly #scripts: readonly Script[]
  #depth = 0
  over = false

  constructor(keep: number, memory: number, scripts: readonly Script[]) {
    this.keep = keep
    this.memory = memory
    this.#scripts = scripts.map((one) => ({ ...one }))
    this.pool = new ModelPool(
      names.map((name) => ({
        name,
        bytes: () => {
          this.#called('bytes')
          return sizes[name]
        },
        load: () => this.#load(name),
      })),
      {
        keep,
        idleMs,
        waitMs,
        room: () => {
          this.#called('room')
          return this.memory - this.held
        },
        reclaim: () => this.#called('reclaim'),
      },
    )
  }

  /** Bytes of all engines that have not been closed to the end. */
  get held(): number {
    return this.engines.reduce((sum, { name, gone }) => sum + (gone ? 0 : sizes[name as 'a']), 0)
  }

  #load(name: (typeof names)[number]): Promise<FakeEngine> {
    if (this.loads.some(({ settled }) => !settled)) this.faults.push(`${name} loads while another does`)
    if (this.engines.some((one) => one.name === name && !one.gone)) this.faults.push(`${name} is loaded twice`)
    if (this.engines.filter(({ gone }) => !gone).length >= this.keep) this.faults.push(`${name} is more than to keep`)
    if (this.held + sizes[name] > this.memory) this.faults.push(`${name} does not fit: ${this.held} are held`)
    const promise = Promise.withResolvers<FakeEngine>()
    promise.promise.catch(() => {})
    this.loads.push({ name, promise, settled: false })
    this.#called('load')
    return promise.promise
  }

  #engine(name: string): FakeEngine {
    const entry = { name, gone: false, engine: undefined as never as FakeEngine }
    entry.engine = fakeEngine(name, sizes[name as 'a'], () => {
      const held = this.uses.filter(({ lease, released }) => lease?.engine === entry.engine && !released)
      if (held.length > 0 && !this.over) this.faults.push(`${name} is closed in use`)
      if (entry.engine.closes > 1) this.faults.push(`${name} is closed twice`)
      const promise = Promise.withResolvers<void>()
      this.closings.push({ name, promise, settled: false })
      this.#called('engine.close')
      return promise.promise.finally(() => {
        entry.gone = true
      })
    })
    this.engines.push(entry)
    return entry.engine
  }

  /** Runs the scripts of a callback. */
  #called(place: (typeof places)[number]): void {
    if (this.#depth > 2) return
    this.#depth++
    for (const script of this.#scripts) if (script.place === place && script.nth-- === 0) this.act(script.deed)
    this.#depth--
  }

  act(deed: Deed): void {
    const pick = <T>(list: readonly T[], at: number) => list[at % Math.max(1, list.length)]
    switch (deed.kind) {
      case 'use':
        this.#use(names[deed.model] ?? 'a', deed.idle)
        return
      case 'leave':
        pick(this.waiting, deed.which)?.control.abort()
        return
      case 'release': {
        const use = pick(
          this.uses.filter(({ lease, released }) => lease && !released),
          deed.which,
        )
        if (!use) return
        use.released = true
        use.lease?.release()
        return
      }
      case 'load':
      case 'fail': {
        const load = this.loads.find(({ settled }) => !settled)
        if (!load) return
        load.settled = true
        if (deed.kind === 'fail') load.promise.reject(new Error(`${load.name} is broken`))
        else load.promise.resolve(this.#engine(load.name))
        return
      }
      case 'closed': {
        const closing = pick(
          this.closings.filter(({ settled }) => !settled),
          deed.which,
        )
        if (!closing) return
        closing.settled = true
        closing.promise.resolve()
        return
      }
      case 'wait':
        vi.advanceTimersByTime(deed.ms)
        return
      case 'close':
        this.over = true
        void this.pool.close()
    }
  }

  /** Uses that have neither a lease nor a failure. */
  get waiting(): Use[] {
    return this.uses.filter(({ lease, error }) => !lease && !error)
  }

  #use(name: string, idle: number | undefined): void {
    const use: Use = { name, control: new AbortController(), released: false }
    this.uses.push(use)
    this.pool.use(name, { signal: use.control.signal, idleMs: idle }).then(
      (lease) => {
        use.lease = lease
        if ((lease.engine as FakeEngine).closes > 0 && !this.over) this.faults.push(`${name} is given after its close`)
        this.#called('given')
      },
      (error) => {
        use.error = error
        this.#called('failed')
      },
    )
  }

  check(): void {
    expect(this.faults).toEqual([])
    for (const { name, state, uses, waiting, leavesInMs } of this.pool.models) {
      const own = this.uses.filter((use) => use.name === name)
      expect(uses, name).toBe(own.filter(({ lease, released }) => lease && !released).length)
      expect(waiting, name).toBe(own.filter(({ lease, error }) => !lease && !error).length)
      if (uses > 0 && !this.over) expect(state, name).toBe('loaded')
      if (state === 'loaded' && !this.over) expect(leavesInMs !== undefined, name).toBe(uses === 0)
    }
  }

  /** Lets everything end that has begun. */
  async drain(): Promise<void> {
    for (let round = 0; round < 60; round++) {
      for (const kind of ['load', 'closed', 'release'] as const) this.act({ kind, which: round })
      await turns()
      this.check()
    }
    for (const use of [...this.uses]) if (use.lease && !use.released) this.act({ kind: 'release', which: 0 })
  }
}

const turns = async () => {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve))
}

test('whatever happens, models stay within bounds and in use, and nothing is left', async () => {
  const seen = { loads: 0, failures: 0, unloads: 0, given: 0, codes: new Set<string>() }
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.constantFrom(35, 50, 64, 65, 1000),
      fc.array(script, { maxLength: 4 }),
      fc.array(deed, { minLength: 10, maxLength: 60 }),
      async (keep, memory, scripts, deeds) => {
        const world = new World(keep, memory, scripts)
        for (const one of deeds) {
          world.act(one)
          await turns()
          world.check()
        }
        await world.drain()
        // Everybody got a lease, or an error with a code.
        expect(world.waiting).toEqual([])
        for (const { error } of world.uses) if (error) seen.codes.add(error.code)
        const live = world.engines.filter(({ gone }) => !gone)
        expect(new Set(live.map(({ name }) => name)).size).toBe(live.length)
        if (!world.over) {
          const loaded = world.pool.models.filter(({ state }) => state === 'loaded').map(({ name }) => name)
          expect(loaded.sort()).toEqual(live.map(({ name }) => name).sort())
        }
        world.over = true
        const closed = world.pool.close()
        for (let round = 0; round < 10; round++) {
          world.act({ kind: 'closed', which: 0 })
          await turns()
        }
        await closed
        expect(world.engines.map(({ engine, gone }) => [engine.closes, gone])).toEqual(
          world.engines.map(() => [1, true]),
        )
        expect(vi.getTimerCount()).toBe(0)
        expect(world.faults).toEqual([])
        for (const { loads, failures, unloads } of world.pool.models) {
          seen.loads += loads
          seen.failures += failures
          seen.unloads += unloads
        }
        seen.given += world.uses.filter(({ lease }) => lease).length
      },
    ),
    { numRuns: 150 },
  )
  // The runs reached what they are for.
  expect(seen.loads).toBeGreaterThan(150)
  expect(seen.failures).toBeGreaterThan(10)
  expect(seen.unloads).toBe(seen.loads)
  expect(seen.given).toBeGreaterThan(seen.loads)
  expect([...seen.codes].sort()).toEqual(['aborted', 'busy', 'io', 'out_of_memory'])
})
