/**
 * The router on a part of the bench's grid, with a simulated clock and seeded draws, so that no
 * machine is too slow for it.
 */
import { expect, test } from 'vitest'
import { drift } from '../../bench/route/drift.ts'
import { type Cell, grid, kinds, standard } from '../../bench/route/grid.ts'
import { choiceMap } from '../../bench/route/map.ts'
import { startProxy } from '../../bench/route/proxy.ts'
import { draw, type Regime } from '../../bench/route/world.ts'
import { mean } from '../../bench/stats.ts'
import { createRandom } from '../../src/decode/random.ts'

const cells = grid({ ...standard, rtt_ms: [5, 150], mbit_s: [20, 500], requests: 20, seed: 7 })
const of = (kind: string) => cells.filter((cell) => cell.kind === kind)

test.each(kinds)('$name: near the best fixed route of each cell, and below every fixed policy', ({ name }) => {
  const own = of(name)
  expect(own).toHaveLength(2 * 2 * 2 * 3 * 3 * 6)
  // Twenty requests of a length are fewer than the bench has, so the first tries weigh more.
  expect(mean(own.map(({ regret }) => regret))).toBeLessThan(1.1)
  expect(mean(own.map(({ settled }) => settled))).toBeLessThan(1.05)
  const { router, ...fixed } = Object.fromEntries(
    Object.keys(own[0]!.ttft).map((policy) => [policy, mean(own.map(({ ttft }) => ttft[policy]!))]),
  )
  for (const [policy, ms] of Object.entries(fixed)) expect(router, policy).toBeLessThan(ms)
})

test('the same seed gives the same grid, another seed another', () => {
  const small = { ...standard, rtt_ms: [40], mbit_s: [100], loss: [0.01], requests: 4 }
  expect(grid(small)).toEqual(grid(small))
  expect(grid({ ...small, seed: 2 })).not.toEqual(grid(small))
})

test('a change is detected', () => {
  for (const { later, change, kind } of drift(5)) expect(later, `${change}, ${kind}`).toBeLessThan(3)
})

test('a choice map shows every cell once', () => {
  const shown = cells.filter(({ kind, loss }) => kind === 'refined' && loss === 0)
  const svg = choiceMap(shown, 'ways')
  expect(svg.match(/<title>/g)).toHaveLength(shown.length)
  expect(svg).toContain('RTT 150 ms, 500 Mbit/s')
})

const regime: Regime = { rtt_ms: 40, mbit_s: 100, loss: 0, local_ms_per_token: 4, companion_ms_per_token: 1 }
const middle = (change: Partial<Regime>, of: (cell: ReturnType<typeof draw>) => number) => {
  const random = createRandom(1)
  const drawn = Array.from({ length: 200 }, () =>
    draw({ ...regime, ...change }, { tokens: 512, predicted: false }, random),
  )
  return mean(drawn.map(of))
}

test('the model of the world matches the description in its header', () => {
  expect(middle({}, ({ ttft }) => ttft.local)).toBeGreaterThan(0.97 * 2051)
  expect(middle({}, ({ ttft }) => ttft.local)).toBeLessThan(1.03 * 2051)
  // 6.3 MB at 20 Mbit/s are 2.5 s.
  expect(middle({ mbit_s: 20 }, ({ ttft }) => ttft.remote)).toBeGreaterThan(2500)
  expect(middle({ mbit_s: 500 }, ({ ttft }) => ttft.remote)).toBeLessThan(middle({}, ({ ttft }) => ttft.remote))
  expect(middle({ rtt_ms: 150 }, ({ ttft }) => ttft.relay) - middle({}, ({ ttft }) => ttft.relay)).toBeCloseTo(110, -1)
  expect(middle({ loss: 0.01 }, ({ ttft }) => ttft.remote)).toBeGreaterThan(middle({}, ({ ttft }) => ttft.remote))
})

test('the slow network carries all bytes in order, and not earlier than they can arrive', async () => {
  const { createServer, connect } = await import('node:net')
  const sent = Uint8Array.from({ length: 300_000 }, (_, at) => (at * 7919) % 251)
  const server = createServer((socket) => {
    socket.on('data', () => socket.end(sent))
    socket.on('error', () => {})
  })
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  const { port } = server.address() as import('node:net').AddressInfo
  const proxy = await startProxy(port, () => ({ rtt_ms: 20, mbit_s: 50, loss: 0 }), 1)
  try {
    const begun = performance.now()
    const got = await new Promise<Buffer>((resolve, reject) => {
      const parts: Buffer[] = []
      const socket = connect(proxy.port, '127.0.0.1', () => socket.write('go'))
      socket.on('data', (part) => parts.push(part))
      socket.on('end', () => resolve(Buffer.concat(parts)))
      socket.on('error', reject)
    })
    // A round trip, and 300 kB at 50 Mbit/s.
    expect(performance.now() - begun).toBeGreaterThan(20 + 48)
    expect(Buffer.compare(got, Buffer.from(sent))).toBe(0)
  } finally {
    await proxy.close()
    server.close()
  }
})

// An empty grid must not pass.
test('the grid has cells in which each route is the best', () => {
  const best = new Set(cells.map((cell: Cell) => cell.best))
  expect([...best].sort()).toEqual(['local', 'relay', 'remote'])
})
