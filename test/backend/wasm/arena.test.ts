/**
 * Tests regions and pages of two pools in one memory: live data keeps its bytes and address, and
 * every byte is accounted for.
 */

import { describe, expect, test } from 'vitest'
import { loadWasm } from '../../../node/wasm.ts'
import { Arena, mostRegionBytes, mostWasmPages, type Use } from '../../../src/backend/wasm/arena.ts'
import { WasmKvPool } from '../../../src/backend/wasm/kv-pool.ts'
import { selectCore } from '../../../src/backend/wasm/select.ts'
import fc from '../../helpers/properties.ts'
import { random } from '../../helpers/random.ts'
import { seed } from '../../helpers/seed.ts'

const { kernels } = await selectCore(await loadWasm('simd128', 1), 'simd128', false)
const base = 1000
const initial = 2
/**
 * Slack that does not grow with live data: the memory's first pages, and holes that fit no region.
 */
const constant = 1 << 20

function arenaOf(most = mostWasmPages): Arena {
  return new Arena(new WebAssembly.Memory({ initial, maximum: most }), base)
}

describe('Arena', () => {
  test('a freed region is reused and zeroed', () => {
    const arena = arenaOf()
    const first = arena.alloc(100_000, 'tables')
    const kept = arena.alloc(64, 'tables')
    arena.bytes.fill(7, first, first + 100_000)
    arena.free(first)
    const total = arena.balance.total
    const again = arena.alloc(99_000, 'weights')
    expect(again).toBe(first)
    expect(arena.bytes.subarray(again, again + 99_000).every((byte) => byte === 0)).toBe(true)
    expect(arena.balance.total).toBe(total)
    expect(kept).toBeGreaterThan(again)
  })

  test('a region is freed once, and by its own address', () => {
    const arena = arenaOf()
    const at = arena.alloc(1000, 'tables')
    expect(() => arena.free(at + 64)).toThrow(/no region begins at/)
    arena.free(at)
    expect(() => arena.free(at)).toThrow(/no region begins at/)
  })

  test('an invalid size, or one above the limit of a region, is refused with the number and changes nothing', () => {
    const arena = arenaOf()
    const before = arena.balance
    for (const bytes of [mostRegionBytes + 1, 2 ** 31, 4_300_800_000, 2 ** 40])
      expect(() => arena.alloc(bytes, 'weights')).toThrow(
        expect.objectContaining({ code: 'out_of_memory', message: expect.stringContaining(String(bytes)) }),
      )
    for (const bytes of [-1, -(2 ** 31), Number.NaN])
      expect(() => arena.alloc(bytes, 'weights')).toThrow(expect.objectContaining({ code: 'internal' }))
    expect(arena.balance).toEqual(before)
  })

  test('at the end of memory the last region that fits is allocated and the next is refused; then a free one is reused', () => {
    const arena = arenaOf(4)
    const whole = 4 * 65_536 - arena.balance.tables
    const at = arena.alloc(whole, 'weights')
    expect(arena.balance).toMatchObject({ total: 4 * 65_536, weights: whole, free: 0 })
    expect(() => arena.alloc(1, 'tables')).toThrow(
      expect.objectContaining({ code: 'out_of_memory', message: expect.stringContaining('262144') }),
    )
    arena.free(at)
    expect(arena.alloc(1, 'tables')).toBe(at)
  })

  test('room that was reserved, holes included, is allocated without growth; more than there is changes nothing', () => {
    const arena = arenaOf(8)
    const hole = arena.alloc(65_536, 'tables')
    arena.alloc(64, 'tables')
    arena.free(hole)
    arena.reserve(3 * 65_536)
    const { buffer } = arena.memory
    for (let i = 0; i < 3; i++) arena.alloc(65_536, 'weights')
    expect(arena.memory.buffer).toBe(buffer)
    const before = arena.balance
    expect(() => arena.reserve(8 * 65_536)).toThrow(expect.objectContaining({ code: 'out_of_memory' }))
    expect(arena.balance).toEqual(before)
  })

  test('a memory of nearly 4 GiB is accessible to its end, and not beyond', () => {
    const arena = arenaOf()
    const regions = [arena.alloc(mostRegionBytes, 'weights')]
    const rest = mostWasmPages * 65_536 - arena.balance.tables - arena.balance.weights
    regions.push(arena.alloc(rest, 'weights'))
    const last = regions[1]! + rest - 64
    expect(last).toBeGreaterThan(2 ** 31)
    arena.floats[last / 4] = 1.5
    arena.words[last / 4 + 15] = 0xfedcba98
    expect(arena.bytes[last + 3]).toBe(0x3f)
    expect(arena.bytes[mostWasmPages * 65_536 - 1]).toBe(0xfe)
    expect(() => arena.alloc(64, 'tables')).toThrow(expect.objectContaining({ code: 'out_of_memory' }))
  })
})

describe('WasmKvPool', () => {
  const poolOf = (arena: Arena, layers = 2, kvHeads = 2) =>
    new WasmKvPool(arena, kernels, { type: 'f32', layers, kvHeads, headDim: 64 })

  test('a page that is not in the pool is refused, including a former one', async () => {
    const pool = poolOf(arenaOf())
    const [page, other] = pool.add(2) as [number, number]
    pool.remove([page])
    await expect(pool.readPage(page)).rejects.toMatchObject({ code: 'internal' })
    expect(() => pool.writePage(page, new Uint8Array(pool.pageBytes))).toThrow(/is not one of the 1/)
    expect(() => pool.remove([page])).toThrow(/is not one of the 1/)
    expect((await pool.readPage(other)).length).toBe(pool.pageBytes)
  })

  test('at the end of memory it allocates as many pages as fit, then none', () => {
    const arena = arenaOf(4)
    const pool = poolOf(arena)
    const room = Math.floor((4 * 65_536 - arena.balance.tables) / pool.pageBytes)
    expect(pool.add(100)).toHaveLength(room)
    expect(() => pool.add(1)).toThrow(expect.objectContaining({ code: 'out_of_memory' }))
    expect(pool.pages).toBe(room)
  })

  test('a page too large for any memory is refused with its size', () => {
    const huge = () =>
      new WasmKvPool(arenaOf(), kernels, { type: 'f32', layers: 64, kvHeads: 1 << 10, headDim: 1 << 10 })
    expect(huge).toThrow(expect.objectContaining({ code: 'out_of_memory' }))
    expect(huge).toThrow(String(64 * 2 * 16 * 2 ** 20 * 4))
  })
})

type Step =
  | { readonly kind: 'alloc'; readonly bytes: number; readonly use: Use }
  | { readonly kind: 'free'; readonly which: number }
  | { readonly kind: 'add'; readonly pool: 0 | 1; readonly pages: number }
  | { readonly kind: 'remove'; readonly pool: 0 | 1; readonly share: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant('alloc' as const),
    bytes: fc.oneof(fc.nat(2000), fc.nat(100_000)),
    use: fc.constantFrom('weights' as const, 'tables' as const),
  }),
  fc.record({ kind: fc.constant('free' as const), which: fc.nat() }),
  fc.record({ kind: fc.constant('add' as const), pool: fc.constantFrom(0, 1), pages: fc.integer({ min: 1, max: 40 }) }),
  fc.record({
    kind: fc.constant('remove' as const),
    pool: fc.constantFrom(0, 1),
    share: fc.double({ min: 0, max: 1 }),
  }),
)

interface Live {
  readonly at: number
  readonly bytes: number
  readonly use: Use
  readonly tag: number
}

describe('regions and two pools', () => {
  test(`nothing overlaps, moves or loses a byte; the balance is exact; memory follows live data (seed ${seed})`, () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 120 }), fc.nat(), (steps, chance) => {
        const rng = random(chance)
        const arena = arenaOf()
        const pools = [poolAt(arena, 2, 2), poolAt(arena, 1, 1)] as const
        const regions: Live[] = []
        const pages: [Map<number, Live>, Map<number, Live>] = [new Map(), new Map()]
        let [tag, peak] = [0, 0]
        const made = (at: number, bytes: number, use: Use): Live => {
          const own = { at, bytes, use, tag: ++tag % 255 }
          const view = arena.bytes.subarray(at, at + bytes)
          if (!view.every((byte) => byte === 0)) throw new Error(`a region at ${at} is not zeroed`)
          view.fill(own.tag)
          return own
        }
        for (const each of steps) {
          if (each.kind === 'alloc') regions.push(made(arena.alloc(each.bytes, each.use), each.bytes, each.use))
          else if (each.kind === 'free') {
            if (regions.length === 0) continue
            const [gone] = regions.splice(each.which % regions.length, 1)
            arena.free(gone!.at)
          } else if (each.kind === 'add') {
            const pool = pools[each.pool]
            for (const page of pool.add(each.pages))
              pages[each.pool].set(page, made(64 + page * 64, pool.pageBytes, 'pools'))
          } else {
            const gone = [...pages[each.pool].keys()].filter(() => rng.unit() < each.share)
            pools[each.pool].remove(gone)
            for (const page of gone) pages[each.pool].delete(page)
          }
          const live = [...regions, ...pages[0].values(), ...pages[1].values()]
          peak = Math.max(
            peak,
            live.reduce((sum, { bytes }) => sum + size(bytes), 0),
          )
          check(arena, live, peak)
        }
        expect(pools.map((pool) => pool.pages)).toEqual(pages.map(({ size }) => size))
        for (const { at } of regions) arena.free(at)
        pools.forEach((pool, index) => {
          pool.remove([...pages[index]!.keys()])
        })
        const { total, free, tables } = arena.balance
        expect([tables, free]).toEqual([1024, total - 1024])
      }),
      { seed, numRuns: 60 },
    )
  })
})

function poolAt(arena: Arena, layers: number, kvHeads: number): WasmKvPool {
  return new WasmKvPool(arena, kernels, { type: 'f32', layers, kvHeads, headDim: 64 })
}

function size(bytes: number): number {
  return Math.max(64, Math.ceil(bytes / 64) * 64)
}

function check(arena: Arena, live: readonly Live[], peak: number): void {
  const { total, free, ...used } = arena.balance
  const want = { weights: 0, pools: 0, tables: 1024 }
  for (const { bytes, use } of live) want[use] += size(bytes)
  expect(used).toEqual(want)
  expect(used.weights + used.pools + used.tables + free).toBe(total)
  expect(total).toBe(arena.memory.buffer.byteLength)
  expect(total).toBeLessThanOrEqual(1.15 * peak + constant)
  let end = 1024
  for (const { at, bytes, tag } of [...live].sort((a, b) => a.at - b.at)) {
    expect(at % 64).toBe(0)
    expect(at).toBeGreaterThanOrEqual(end)
    end = at + bytes
    // Its ends and its middle: all of each would take too long.
    for (const i of [at, at + (bytes >> 1), end - 1]) if (bytes > 0) expect(arena.bytes[i]).toBe(tag)
  }
  expect(end).toBeLessThanOrEqual(total)
}
