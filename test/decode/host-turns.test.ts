/**
 * What the host does beside the passes: it accepts connections, reads from them, and starts
 * requests.
 */
import { afterEach, expect, test, vi } from 'vitest'
import { all, prompt, Request, setup } from '../helpers/scheduled.ts'

afterEach(() => vi.restoreAllMocks())

/**
 * Returns the turns of the event loop before each pass but the first, if a pass takes `passMs` and
 * a turn advances the clock by 1 ms.
 */
async function turnsBetweenPasses(passMs: number): Promise<number[]> {
  let now = 0
  vi.spyOn(performance, 'now').mockImplementation(() => now)
  let turns = 0
  let counting = true
  const turn = () => {
    turns++
    now++
    if (counting) setImmediate(turn)
  }
  setImmediate(turn)
  const { model, scheduler } = setup()
  const seen: number[] = []
  model.onPass = () => {
    seen.push(turns)
    now += passMs
  }
  const requests = [1, 2, 3].map((seed) => new Request(prompt(20, seed), 6))
  for (const request of requests) scheduler.add(request)
  await Promise.all(requests.map((request) => scheduler.drive(() => request.ended > 0)))
  counting = false
  return seen.slice(1).map((at, pass) => at - seen[pass]!)
}

test('after a long pass the host gets a hundredth of its time, so incoming events do not each wait for a pass', async () => {
  const between = await turnsBetweenPasses(2000)
  expect(between.length).toBeGreaterThan(3)
  for (const turns of between) {
    expect(turns).toBeGreaterThanOrEqual(20)
    expect(turns).toBeLessThanOrEqual(25)
  }
})

test('after a short pass the host gets one turn', async () => {
  for (const turns of await turnsBetweenPasses(0)) expect(turns).toBeLessThanOrEqual(2)
})

test('a clock that stands still after a long pass does not block anything forever', async () => {
  let now = 0
  vi.spyOn(performance, 'now').mockImplementation(() => now)
  const { model, scheduler } = setup()
  model.onPass = () => {
    now += 1e6
  }
  const request = new Request(prompt(20), 3)
  scheduler.add(request)
  await all(scheduler, [request])
  expect(request.error).toBeUndefined()
})

test("a request cancelled during the host's share ends before the next pass", async () => {
  const { model, scheduler } = setup()
  const request = new Request(prompt(20), 6)
  let passes = 0
  model.onPass = () => {
    passes++
    setImmediate(() => request.controller.abort())
  }
  scheduler.add(request)
  await all(scheduler, [request])
  expect([passes, request.error?.code]).toEqual([1, 'aborted'])
})

test('served requests continue before the next pass begins, however many callers drive the scheduler', async () => {
  let now = 0
  vi.spyOn(performance, 'now').mockImplementation(() => now)
  let resting = true
  const turn = () => {
    now++
    if (resting) setImmediate(turn)
  }
  setImmediate(turn)
  const { model, scheduler } = setup({ options: { maxRunning: 8 } })
  // A rest lasts ten turns.
  let passes = 0
  model.onPass = () => {
    passes++
    now += 1000
  }
  const requests = Array.from({ length: 8 }, (_, seed) => new Request(prompt(40, seed), 12))
  const late: number[] = []
  const read = async (request: Request) => {
    for (let shown = 0; request.ended === 0; shown = request.answer.length) {
      let servedAt = 0
      request.inside = (hook) => {
        if (hook === 'chooseTokens') servedAt = passes
      }
      await scheduler.drive(() => request.answer.length > shown || request.ended > 0)
      late.push(passes - servedAt)
    }
  }
  for (const request of requests) {
    scheduler.add(request)
    void read(request)
    // Each request arrives at another time of a rest.
    await new Promise((resolve) => setImmediate(resolve))
  }
  await all(scheduler, requests)
  resting = false
  expect(passes).toBeGreaterThan(10)
  expect(late.length).toBeGreaterThan(30)
  expect(late.filter((count) => count > 0)).toEqual([])
})
