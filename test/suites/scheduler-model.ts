/**
 * Runs random commands on a scheduler, and checks invariants after each: submit, cancel, throw,
 * preempt, stall, refine, received K and V, and callbacks that call back. Every answer is compared
 * with the one given alone, and every page with its owners.
 */

import type { Scheduler } from '../../src/decode/scheduler.ts'
import fc from '../helpers/properties.ts'
import { turns } from '../helpers/scheduled.ts'
import { type Deed, hooks, type Script, type Wish } from './scheduler-script.ts'
import { textOf, World, worldContext } from './scheduler-world.ts'

export interface ModelOptions {
  /** Minimum number of commands to run. */
  readonly commands: number
  readonly seed: number
  /** The scheduler under test. Default: this repository's. */
  readonly Scheduler?: typeof Scheduler
  readonly onProgress?: (commands: number) => void
}

export interface ModelReport {
  readonly seed: number
  readonly commands: number
  readonly worlds: number
  readonly requests: number
  /** Number of endings by error code. */
  readonly endings: Readonly<Record<string, number>>
  readonly tokens: number
  readonly preemptions: number
  readonly passes: number
}

/** A command that changes the world, and checks it. */
type Command = fc.AsyncCommand<{ count: number }, World>

const tenant = fc.constantFrom('', '', 'a', 'b')

/** Actions with their frequencies. A world ends with `close`, so that is rare. */
const deeds: { readonly weight: number; readonly arbitrary: fc.Arbitrary<Deed> }[] = [
  { weight: 90, arbitrary: fc.record({ kind: fc.constant('throw') }) },
  { weight: 120, arbitrary: fc.record({ kind: fc.constant('cancel'), which: fc.nat(30) }) },
  { weight: 90, arbitrary: fc.record({ kind: fc.constant('cancelSelf') }) },
  {
    weight: 60,
    arbitrary: fc.record({ kind: fc.constant('submit'), length: fc.integer({ min: 1, max: 50 }), tenant }),
  },
  { weight: 60, arbitrary: fc.record({ kind: fc.constant('hold'), pages: fc.integer({ min: 1, max: 6 }) }) },
  { weight: 60, arbitrary: fc.record({ kind: fc.constant('letGo') }) },
  { weight: 30, arbitrary: fc.record({ kind: fc.constant('evict'), pages: fc.integer({ min: 1, max: 8 }) }) },
  {
    weight: 60,
    arbitrary: fc.record({
      kind: fc.constant('insert'),
      text: fc.nat(2),
      pages: fc.integer({ min: 1, max: 5 }),
      tenant,
    }),
  },
  { weight: 30, arbitrary: fc.record({ kind: fc.constant('drive') }) },
  { weight: 10, arbitrary: fc.record({ kind: fc.constant('close') }) },
]

const deed = fc.oneof(...deeds)

const script: fc.Arbitrary<Script> = fc.record({
  hook: fc.constantFrom(...hooks),
  nth: fc.integer({ min: 1, max: 4 }),
  deed,
})

const wish: fc.Arbitrary<Wish> = fc
  .record({
    text: fc.nat(2),
    shared: fc.oneof(fc.nat(80), fc.constantFrom(0, 16, 32, 64)),
    own: fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 40 }),
    bad: fc.oneof({ weight: 30, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.constantFrom(61, 1e9) }),
    tenant,
    most: fc.oneof(fc.nat(6), fc.nat(60)),
    forces: fc.oneof(fc.constant(0), fc.nat(4), fc.nat(50)),
    checks: fc.constantFrom('never' as const, 'reports' as const, 'corrects' as const, 'corrects' as const),
    mode: fc.constantFrom(
      'exact' as const,
      'exact' as const,
      'predicted' as const,
      'refined' as const,
      'auto' as const,
    ),
    sends: fc.oneof({ weight: 6, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
    scripts: fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, fc.array(script, { maxLength: 3 })),
  })
  .map(({ text, shared, own, bad, mode, sends, ...rest }): Wish => {
    const ids = [...textOf(shared, text), ...own, ...(bad ? [bad] : [])]
    // A sender of K and V needs no answer.
    return { ids, sends, ...rest, ...(sends ? { mode: 'exact', most: 0 } : { mode }) }
  })

class Step implements Command {
  readonly #name: string
  readonly #run: (world: World) => unknown

  constructor(name: string, run: (world: World) => unknown) {
    this.#name = name
    this.#run = run
  }

  check = () => true

  async run(model: { count: number }, world: World): Promise<void> {
    model.count++
    await this.#run(world)
    world.check()
  }

  toString = () => this.#name
}

const step = <T>(name: string, arbitrary: fc.Arbitrary<T>, run: (world: World, value: T) => unknown) =>
  arbitrary.map((value) => new Step(`${name} ${JSON.stringify(value)}`, (world) => run(world, value)))

const submit = step('submit', wish, (world, value) => world.submit(value))
const pass = step('pass', fc.integer({ min: 1, max: 4 }), (world, count) => world.drive(turns(count)))
const commands = [
  submit,
  submit,
  submit,
  pass,
  pass,
  pass,
  step('outside', deed, (world, value) => value.kind !== 'throw' && world.do(value)),
  step('mid-pass', deed, (world, value) => world.midPass(value)),
  step('stall', fc.integer({ min: 1, max: 5 }), (world, count) => world.stall(count)),
]

const world = fc.record({
  // With few pages there are many preemptions.
  pages: fc.oneof(fc.integer({ min: worldContext / 16, max: 11 }), fc.integer({ min: 12, max: 24 })),
  passTokens: fc.constantFrom(1, 5, 16, 33, 33, 64),
  prefixPages: fc.integer({ min: 0, max: 12 }),
  order: fc.constantFrom('shortest' as const, 'pack' as const, 'arrival' as const),
  maxRunning: fc.constantFrom(1, 3, 64),
  maxWaiting: fc.constantFrom(0, 6, 64),
  stallMs: fc.constantFrom(0, 100),
})

/** Throws fast-check's report of the smallest failure, which contains the seed. */
export async function checkScheduler(options: ModelOptions): Promise<ModelReport> {
  const endings: Record<string, number> = {}
  const sum = { commands: 0, worlds: 0, requests: 0, tokens: 0, preemptions: 0, passes: 0 }
  const property = fc.asyncProperty(
    world,
    fc.commands(commands, { maxCommands: 120, size: 'max' }),
    async (made, steps) => {
      const real = new World(made, options.Scheduler)
      const model = { count: 0 }
      await fc.asyncModelRun(() => ({ model, real }), steps)
      await real.finish()
      const { preemptions, passes } = real.scheduler.stats
      sum.commands += model.count
      sum.worlds++
      sum.requests += real.requests.length
      sum.preemptions += preemptions
      sum.passes += passes
      for (const { error, answer } of real.requests) {
        const code = error?.code ?? 'whole'
        endings[code] = (endings[code] ?? 0) + 1
        sum.tokens += answer.length
      }
      options.onProgress?.(sum.commands)
    },
  )
  for (let round = 0; sum.commands < options.commands; round++)
    await fc.assert(property, { numRuns: 20, seed: options.seed + round })
  return { seed: options.seed, ...sum, endings }
}
