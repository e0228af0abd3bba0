/**
 * Runs random commands against a gate and against a model of it, which knows no promises, signals or stocks: it sums what
 * requests hold, and looks for the next one from the beginning each time.
 */

import { describe, expect, test } from 'vitest'
import { Gate } from '../../src/base/gate.ts'
import { Shares, type Sharing } from '../../src/base/shares.ts'
import fc from '../helpers/properties.ts'

interface Setting {
  readonly totals: readonly number[]
  readonly sharing: Sharing
  readonly maxWaiting: number
  readonly maxWaitingPerTenant: number
  /** Whether the constructor of the error throws. */
  readonly throws: boolean
}

interface Request {
  readonly id: number
  readonly tenant: string
  readonly amounts: readonly number[]
}

type Outcome = 'busy' | 'aborted' | 'closed'

class Model {
  readonly setting: Setting
  inside: Request[] = []
  /** Tenants that wait, the next one first. */
  lines: { tenant: string; requests: Request[] }[] = []
  entered: number[] = []
  failed = new Map<number, Outcome>()
  closed = false
  count = 0

  constructor(setting: Setting) {
    this.setting = setting
  }

  get waiting(): Request[] {
    return this.lines.flatMap(({ requests }) => requests)
  }

  used(stock: number, tenant?: string): number {
    const holders = this.inside.filter((request) => tenant === undefined || request.tenant === tenant)
    return holders.reduce((sum, { amounts }) => sum + amounts[stock]!, 0)
  }

  fits({ tenant, amounts }: Request): boolean {
    return this.setting.totals.every((total, stock) => {
      const [amount, free, held] = [amounts[stock]!, total - this.used(stock), this.used(stock, tenant)]
      if (amount > free) return false
      if (held === 0 || this.setting.sharing === 'all') return true
      return held + amount <= (this.setting.sharing === 'half' ? free - amount : free)
    })
  }

  enter(request: Request): void {
    const line = this.lines.find(({ tenant }) => tenant === request.tenant)
    if (this.closed) this.failed.set(request.id, 'closed')
    else if (this.fits(request)) this.#letIn(request)
    else if (this.waiting.length >= this.setting.maxWaiting) this.failed.set(request.id, 'busy')
    else if ((line?.requests.length ?? 0) >= this.setting.maxWaitingPerTenant) this.failed.set(request.id, 'busy')
    else if (line) line.requests.push(request)
    else this.lines.push({ tenant: request.tenant, requests: [request] })
  }

  leave(request: Request, outcome: Outcome): void {
    for (const line of this.lines) line.requests = line.requests.filter(({ id }) => id !== request.id)
    this.lines = this.lines.filter(({ requests }) => requests.length > 0)
    this.failed.set(request.id, outcome)
  }

  release(request: Request): void {
    this.inside = this.inside.filter(({ id }) => id !== request.id)
  }

  serve(): void {
    for (;;) {
      const line = this.lines.find(({ requests }) => this.fits(requests[0]!))
      if (!line) return
      this.#letIn(line.requests.shift()!)
      this.lines = [...this.lines.filter((other) => other !== line), ...(line.requests.length > 0 ? [line] : [])]
    }
  }

  #letIn(request: Request): void {
    this.inside.push(request)
    this.entered.push(request.id)
  }
}

class Real {
  readonly stocks: Shares[]
  readonly gate: Gate
  readonly entered: number[] = []
  readonly failed = new Map<number, Outcome>()
  readonly releases = new Map<number, () => void>()
  readonly controls = new Map<number, AbortController>()

  constructor({ totals, sharing, maxWaiting, maxWaitingPerTenant, throws }: Setting) {
    this.stocks = totals.map((total) => new Shares(total, sharing))
    const outcome = (name: Outcome) => () => {
      if (throws) throw name
      return name as unknown as Error
    }
    const errors = { busy: outcome('busy'), cancelled: outcome('aborted') }
    this.gate = new Gate({ stocks: this.stocks, maxWaiting, maxWaitingPerTenant, ...errors })
  }

  enter({ id, tenant, amounts }: Request): void {
    const control = new AbortController()
    this.controls.set(id, control)
    this.gate.enter({ tenant, amounts, signal: control.signal }).then(
      (release) => {
        this.entered.push(id)
        this.releases.set(id, release)
      },
      (outcome: Outcome) => void this.failed.set(id, outcome),
    )
  }
}

type Command = fc.AsyncCommand<Model, Real>

/** Waits for all promises, and compares. */
async function compare(model: Model, real: Real): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
  expect(real.entered).toEqual(model.entered)
  expect(real.failed).toEqual(model.failed)
  expect(real.gate.running).toBe(model.inside.length)
  expect(real.gate.waiting).toBe(model.waiting.length)
  for (const [index, { used, total }] of real.stocks.entries()) {
    expect(used).toBe(model.used(index))
    expect(used).toBeLessThanOrEqual(total)
  }
  // No wake-up is lost: the first request of each tenant does not fit.
  expect(model.lines.filter(({ requests }) => model.fits(requests[0]!))).toEqual([])
}

function command(name: string, run: (model: Model, real: Real) => void, check = (_: Readonly<Model>) => true): Command {
  return {
    check,
    async run(model, real) {
      run(model, real)
      model.serve()
      await compare(model, real)
    },
    toString: () => name,
  }
}

const enter = fc
  .record({ tenant: fc.constantFrom('a', 'b', 'c'), sizes: fc.tuple(fc.nat(1000), fc.nat(1000)) })
  .map(({ tenant, sizes }) =>
    command(`enter ${tenant} ${sizes}`, (model, real) => {
      const { totals } = model.setting
      // Amounts are mostly small compared with the stock, so that several fit.
      const amounts = totals.map((total, stock) => Math.ceil(total * (sizes[stock]! / 1000) ** 3))
      const request = { id: model.count++, tenant, amounts }
      model.enter(request)
      real.enter(request)
    }),
  )
const cancel = fc.nat(20).map((pick) =>
  command(
    `cancel ${pick}`,
    (model, real) => {
      const request = model.waiting[pick % model.waiting.length]!
      model.leave(request, 'aborted')
      real.controls.get(request.id)!.abort()
    },
    (model) => model.waiting.length > 0,
  ),
)
/** Also of one whose signal has fired since it was let in. */
const release = fc.tuple(fc.nat(20), fc.boolean(), fc.boolean()).map(([pick, twice, aborted]) =>
  command(
    `release ${pick}${twice ? ' twice' : ''}${aborted ? ' aborted' : ''}`,
    (model, real) => {
      const request = model.inside[pick % model.inside.length]!
      model.release(request)
      if (aborted) real.controls.get(request.id)!.abort()
      real.releases.get(request.id)!()
      if (twice) real.releases.get(request.id)!()
    },
    (model) => model.inside.length > 0,
  ),
)
/** Everything in one turn, so that signals fire between a hand-over and its notice. */
const releaseAndCancel = fc.tuple(fc.nat(20), fc.nat(20)).map(([inside, waiting]) =>
  command(
    `release ${inside} and cancel ${waiting}`,
    (model, real) => {
      const leaving = model.inside[inside % model.inside.length]!
      const cancelled = model.waiting[waiting % model.waiting.length]!
      model.release(leaving)
      model.serve()
      if (model.waiting.includes(cancelled)) model.leave(cancelled, 'aborted')
      real.releases.get(leaving.id)!()
      real.controls.get(cancelled.id)!.abort()
    },
    (model) => model.inside.length > 0 && model.waiting.length > 0,
  ),
)
/** A rare action, since little happens after it. */
const close = fc.nat(9).map((pick) =>
  command(
    'close',
    (model, real) => {
      for (const request of model.waiting) model.leave(request, 'closed')
      model.closed = true
      real.gate.close('closed')
    },
    () => pick === 0,
  ),
)

const settings: fc.Arbitrary<Setting> = fc.record({
  totals: fc.oneof(fc.constant([1]), fc.tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 100 }))),
  sharing: fc.constantFrom<Sharing>('all', 'half', 'past-half'),
  maxWaiting: fc.integer({ min: 0, max: 8 }),
  maxWaitingPerTenant: fc.integer({ min: 1, max: 4 }),
  throws: fc.boolean(),
})

describe('in any sequence of operations', () => {
  const commands = fc.commands([enter, enter, enter, release, release, cancel, releaseAndCancel, close], {
    maxCommands: 60,
    size: 'max',
  })

  test('the gate admits, refuses and queues as the model does, in its order', async () => {
    await fc.assert(
      fc.asyncProperty(settings, commands, async (setting, run) => {
        const [model, real] = [new Model(setting), new Real(setting)]
        await fc.asyncModelRun(() => ({ model, real }), run)
        // All that was taken comes back.
        while (model.inside.length > 0) {
          const request = model.inside[0]!
          model.release(request)
          model.serve()
          real.releases.get(request.id)!()
          await compare(model, real)
        }
        expect(real.gate.waiting).toBe(0)
        expect(real.stocks.map(({ used }) => used)).toEqual(setting.totals.map(() => 0))
      }),
      { numRuns: 150 },
    )
  })

  test("each other tenant enters at most once before a waiting one, and a tenant's requests enter in order", async () => {
    const steps = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c', 'd'), fc.boolean(), fc.nat(9)), {
      maxLength: 80,
      size: 'max',
    })
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 3 }), steps, async (places, all) => {
        const gate = new Gate({ stocks: [new Shares(places)] })
        const inside: (() => void)[] = []
        const waiting = new Map<string, number[]>()
        /** Entrances of others since a tenant began to wait or entered. */
        const passed = new Map<string, Map<string, number>>()
        const onEnter = (tenant: string, id: number) => {
          const line = waiting.get(tenant)!
          expect(line.shift()).toBe(id)
          passed.set(tenant, new Map())
          for (const [other, ids] of waiting) {
            if (other === tenant || ids.length === 0) continue
            const counts = passed.get(other)!
            counts.set(tenant, (counts.get(tenant) ?? 0) + 1)
            expect(counts.get(tenant)).toBe(1)
          }
        }
        for (const [id, [tenant, enters, pick]] of all.entries()) {
          if (enters) {
            const line = waiting.get(tenant) ?? []
            if (line.length === 0) passed.set(tenant, new Map())
            waiting.set(tenant, [...line, id])
            void gate.enter({ tenant }).then((leave) => {
              onEnter(tenant, id)
              inside.push(leave)
            })
          } else inside.splice(pick % (inside.length || 1), 1)[0]?.()
          await new Promise((resolve) => setImmediate(resolve))
          if (gate.waiting > 0) expect(gate.running).toBe(places)
        }
      }),
      { numRuns: 100 },
    )
  })
})
