import { describe, expect, test } from 'vitest'
import { PagedCache } from '../../src/kv/paged.ts'
import { PrefixIndex } from '../../src/kv/prefix.ts'
import { fakePool } from '../helpers/fake-model.ts'
import fc from '../helpers/properties.ts'

function setup(keep = 8, pages = 32) {
  const cache = new PagedCache(fakePool(), pages)
  const index = new PrefixIndex(cache, keep * cache.pool.pageBytes)
  /**
   * Acts as a request for `ids`: adopts what is known, computes the rest, keeps it, and releases
   * all. Returns the number of tokens found.
   */
  const run = (ids: readonly number[], tenant = '') => {
    const sequence = cache.open()
    sequence.adopt(index.match(tenant, ids))
    const found = sequence.length
    sequence.extend(ids.length - found, 0)
    index.insert(tenant, ids, sequence.pages)
    sequence.release()
    index.trim()
    return found
  }
  return { cache, index, run }
}

const text = (length: number, from = 0) => Array.from({ length }, (_, i) => from + i)

describe('PrefixIndex', () => {
  test('finds whole pages, and never the last token', () => {
    const { run, index } = setup()
    expect(run(text(40))).toBe(0)
    expect(index.pages).toBe(2)
    expect(run(text(40))).toBe(32)
    expect(run(text(32))).toBe(16)
    expect(run(text(33))).toBe(32)
    expect(run(text(15))).toBe(0)
    expect(run([...text(16), 99, ...text(23, 17)])).toBe(16)
  })

  test("tenants do not see each other's prefixes", () => {
    const { run, index } = setup()
    run(text(40), 'a')
    expect(run(text(40), 'b')).toBe(0)
    expect(index.known('a', text(40))).toBe(32)
    expect(index.known('c', text(40))).toBe(0)
  })

  test('ids beyond 16 bits are distinguished', () => {
    const { run } = setup()
    run(text(20, 5))
    expect(run(text(20, 5 + 65_536))).toBe(0)
    expect(run(text(20, 5 + 65_536))).toBe(16)
  })

  test('the least recently used leaves are evicted first, and a parent outlives its children', () => {
    const { run, index, cache } = setup(4)
    run(text(49)) // three pages
    run(text(17, 500)) // one more: full
    run(text(49)) // used again
    run(text(17, 900)) // 500 has to go
    expect(index.known('', text(17, 500))).toBe(0)
    expect(index.known('', text(49))).toBe(48)
    run(text(33, 700)) // two: the deepest pages of the first text go, used before 900
    expect(index.pages).toBe(4)
    expect(index.known('', text(49))).toBe(16)
    expect(index.known('', text(17, 900))).toBe(16)
    expect(cache.pagesInUse).toBe(4)
  })

  test('pages that a sequence holds are not evicted', () => {
    const { index, cache, run } = setup(8)
    run(text(65))
    const sequence = cache.open()
    sequence.adopt(index.match('', text(33)))
    expect(index.evict(10)).toBe(2)
    expect(index.known('', text(65))).toBe(32)
    sequence.release()
    expect(index.evict(10)).toBe(2)
    expect(cache.pagesInUse).toBe(0)
  })

  test("prefixes within a tenant's share of half the budget outlive those of others, unless pages are needed", () => {
    const { run, index, cache } = setup(8, 12)
    run(text(49), 'small') // three pages
    for (let from = 1000; from < 3000; from += 100) run(text(49, from), 'large')
    // A quarter of eight pages belongs to each of the two.
    expect(index.known('small', text(49))).toBe(32)
    expect(index.pages).toBe(8)
    // The other tenant's latest pages are there too.
    expect(index.known('large', text(49, 2900))).toBe(48)
    const sequence = cache.open()
    sequence.extend(12 * 16, 0)
    expect(index.pages).toBe(0)
    sequence.release()
  })

  test('many tenants leave each other no share, and the least recently used prefix is evicted', () => {
    const { run, index } = setup(4)
    for (let tenant = 0; tenant < 6; tenant++) run(text(17), `tenant ${tenant}`)
    expect(Array.from({ length: 6 }, (_, tenant) => index.known(`tenant ${tenant}`, text(17)))).toEqual([
      0, 0, 16, 16, 16, 16,
    ])
  })

  test('a request for more room than an empty index could make evicts nothing', () => {
    const { run, index, cache } = setup(8, 8)
    const held = cache.open()
    held.extend(4 * 16, 0)
    run(text(49))
    expect(cache.secure(5)).toBe(false)
    expect(index.pages).toBe(3)
    expect(cache.secure(4)).toBe(true)
    expect(index.pages).toBe(0)
    held.release()
  })

  test('idle prefixes are evicted before memory grows beyond the budget; held pages make it grow', () => {
    const { run, index, cache } = setup(20, 40)
    cache.growsTo = 10
    for (let from = 0; from < 1000; from += 100) run(text(49, from))
    expect(index.pages).toBeGreaterThanOrEqual(9)
    // In pages of 16 tokens, plus those that a pool allocates at a time.
    expect(cache.pool.pages).toBeLessThanOrEqual(10 + 4)
    const held = cache.open()
    held.extend(25 * 16, 0)
    expect([index.pages, cache.pagesInUse]).toEqual([0, 25])
    held.release()
  })

  test('a prompt longer than the budget keeps its beginning', () => {
    const { run, index } = setup(3)
    run(text(160))
    expect(index.pages).toBe(3)
    expect(index.known('', text(160))).toBe(48)
  })

  test('agrees with a list of all prefixes, and frees every page', () => {
    const ids = fc.record({ text: fc.nat(2), shared: fc.nat(70), own: fc.array(fc.nat(3), { maxLength: 40 }) })
    const action = fc.record({ ids, tenant: fc.constantFrom('a', 'b'), evict: fc.option(fc.nat(3), { freq: 4 }) })
    fc.assert(
      fc.property(fc.array(action, { maxLength: 40 }), fc.integer({ min: 0, max: 12 }), (actions, keep) => {
        const { cache, index, run } = setup(keep)
        const known = new Set<string>()
        for (const { ids, tenant, evict } of actions) {
          const all = [...text(ids.shared, ids.text * 1000), ...ids.own, 7]
          const found = run(all, tenant)
          // Whatever is found was once inserted; without a bound, all that was inserted is found.
          for (let end = 16; end <= found; end += 16) expect(known).toContain(`${tenant} ${all.slice(0, end)}`)
          for (let end = 16; end <= all.length; end += 16) known.add(`${tenant} ${all.slice(0, end)}`)
          if (evict) index.evict(evict)
          expect(index.pages).toBeLessThanOrEqual(keep)
          expect(cache.pagesInUse).toBe(index.pages)
        }
        index.clear()
        expect(cache.pagesInUse).toBe(0)
      }),
    )
  })
})
