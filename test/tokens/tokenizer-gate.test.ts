import { describe, expect, test } from 'vitest'
import { createTokenizerGate } from '../../src/tokens/tokenizer-gate.ts'
import fc from '../helpers/properties.ts'

const plenty = { maxWaiting: 1000, maxWaitingPerTenant: 1000 }
const settled = () => new Promise((resolve) => setTimeout(resolve, 0))

/** A job that runs until it is ended. */
function held() {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  return { job: () => promise, resolve, reject }
}

describe('turns', () => {
  test('one job runs at a time, and tenants take turns', async () => {
    const turns = createTokenizerGate(plenty)
    const order: string[] = []
    const first = held()
    const all = [turns.run({ tenant: 'a' }, first.job)]
    for (const name of ['a1', 'a2', 'a3', 'b1', 'b2', 'c1'])
      all.push(turns.run({ tenant: name[0]! }, async () => void order.push(name)))
    await settled()
    expect(order).toEqual([])
    first.resolve()
    await Promise.all(all)
    expect(order).toEqual(['a1', 'b1', 'c1', 'a2', 'b2', 'a3'])
  })

  test('waiting jobs are limited in all and per tenant; one more is refused', async () => {
    const turns = createTokenizerGate({ maxWaiting: 3, maxWaitingPerTenant: 2 })
    const first = held()
    const none = async () => {}
    const all = [
      turns.run({ tenant: 'a' }, first.job),
      turns.run({ tenant: 'a' }, none),
      turns.run({ tenant: 'a' }, none),
    ]
    await expect(turns.run({ tenant: 'a' }, none)).rejects.toMatchObject({
      code: 'busy',
      message: /2 long prompts of this caller/,
    })
    all.push(turns.run({ tenant: 'b' }, none))
    await expect(turns.run({ tenant: 'c' }, none)).rejects.toMatchObject({ code: 'busy', message: /3 in all/ })
    first.resolve()
    await Promise.all(all)
    await turns.run({ tenant: 'a' }, none)
  })

  test('closing ends waiting jobs, and refuses later ones', async () => {
    const turns = createTokenizerGate(plenty)
    const first = held()
    const running = turns.run({ tenant: 'a' }, first.job)
    const waiting = turns.run({ tenant: 'a' }, async () => {})
    turns.close()
    await expect(waiting).rejects.toMatchObject({ code: 'aborted' })
    await expect(turns.run({ tenant: 'b' }, async () => {})).rejects.toMatchObject({ code: 'aborted' })
    first.resolve()
    await running
  })

  test('whatever is aborted or fails, every other job runs, and its place is released', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            tenant: fc.constantFrom('a', 'b', 'c'),
            fate: fc.constantFrom('ends', 'fails', 'aborts', 'aborted'),
          }),
          { maxLength: 12 },
        ),
        fc.infiniteStream(fc.nat(20)),
        async (jobs, picks) => {
          const turns = createTokenizerGate(plenty)
          const gate = held()
          const blocked = turns.run({ tenant: 'x' }, gate.job)
          const controls = jobs.map(() => new AbortController())
          const ran: number[] = []
          const all = jobs.map(({ tenant, fate }, at) => {
            if (fate === 'aborted') controls[at]!.abort()
            return turns.run({ tenant, signal: controls[at]!.signal }, async () => {
              ran.push(at)
              if (fate === 'fails') throw new Error('failed')
            })
          })
          const results = Promise.allSettled(all)
          const toAbort = jobs.flatMap(({ fate }, at) => (fate === 'aborts' ? [at] : []))
          while (toAbort.length > 0) {
            const [at] = toAbort.splice(picks.next().value % toAbort.length, 1)
            controls[at!]!.abort()
          }
          gate.resolve()
          await blocked
          const outcomes = (await results).map(({ status }) => status === 'fulfilled')
          expect(outcomes).toEqual(jobs.map(({ fate }) => fate === 'ends'))
          expect([...ran].sort((a, b) => a - b)).toEqual(
            jobs.flatMap(({ fate }, at) => (fate === 'ends' || fate === 'fails' ? [at] : [])),
          )
          await turns.run({ tenant: 'y' }, async () => {})
        },
      ),
      { numRuns: 100 },
    )
  })
})
