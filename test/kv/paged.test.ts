import { describe, expect, test } from 'vitest'
import { ForetokenError } from '../../src/base/errors.ts'
import { pageTokens } from '../../src/base/kv.ts'
import { PagedCache } from '../../src/kv/paged.ts'
import type { Sequence } from '../../src/kv/sequence.ts'
import { fakePool, limitedPool } from '../helpers/fake-model.ts'
import fc from '../helpers/properties.ts'

describe('PagedCache', () => {
  test('a sequence uses a page for every 16 tokens, in order', () => {
    const cache = new PagedCache(fakePool(), 8)
    const sequence = cache.open()
    expect(sequence.extend(1, 0)).toMatchObject({ start: 0, length: 1, past: 0, pages: [0] })
    expect(sequence.extend(15, 4)).toMatchObject({ start: 4, length: 15, past: 1, pages: [0] })
    expect(sequence.extend(1, 0)).toMatchObject({ past: 16, pages: [0, 1] })
    expect(cache.pagesInUse).toBe(2)
  })

  test('a refused extension changes nothing and reports the number of pages', () => {
    const cache = new PagedCache(fakePool(), 2)
    const sequence = cache.open()
    sequence.extend(10, 0)
    const other = cache.open()
    const refused = () => other.extend(20, 0)
    expect(refused).toThrow(ForetokenError)
    expect(refused).toThrow(/all 2 KV pages \(32 tokens\)/)
    expect(other.length).toBe(0)
    expect(() => sequence.extend(40, 0)).toThrow(/50 tokens exceed the context of 32/)
    expect(sequence.length).toBe(10)
    expect(cache.pagesInUse).toBe(1)
    sequence.release()
    sequence.release()
    expect(cache.pagesInUse).toBe(0)
  })

  test('a shared page is free only when both holders have released it', () => {
    const cache = new PagedCache(fakePool(), 2)
    const [page] = cache.take() as [number]
    cache.share(page)
    cache.drop(page)
    expect(cache.pagesInUse).toBe(1)
    cache.drop(page)
    expect(cache.pagesInUse).toBe(0)
    expect(() => cache.drop(page)).toThrow(/not in use/)
  })

  test('unused pages return to the pool, but for a few', () => {
    const cache = new PagedCache(fakePool(), 1000)
    const sequence = cache.open()
    sequence.extend(16 * 500, 0)
    expect(cache.pool.pages).toBe(500)
    sequence.truncate(16 * 400)
    expect(cache.pool.pages).toBeLessThanOrEqual(400 * 1.125 + 8)
    expect(cache.pool.pages).toBeGreaterThan(400)
    sequence.release()
    expect(cache.pool.pages).toBeLessThanOrEqual(8)
  })

  test('where memory ends before the requested pages, there are fewer; later there may be more', () => {
    const pool = limitedPool(10)
    const cache = new PagedCache(pool, 100)
    const [first, second] = [cache.open(), cache.open()]
    first.extend(6 * 16, 0)
    expect(cache.pagesFree).toBe(94)
    // Not all of the requested pages exist: nothing is taken, and the shortage is known from now
    // on.
    expect(() => second.extend(5 * 16, 0)).toThrow(expect.objectContaining({ code: 'out_of_memory' }))
    expect([second.length, cache.maxPages, cache.pagesFree]).toEqual([0, 10, 4])
    expect(() => second.extend(5 * 16, 0)).toThrow(/all 10 KV pages \(160 tokens\) .* of the 100/)
    second.extend(4 * 16, 0)
    pool.most = 40
    first.release()
    second.release()
    expect(cache.maxPages).toBe(100)
    first.extend(30 * 16, 0)
    expect(cache.pagesInUse).toBe(30)
  })

  test('idle prefixes are evicted before memory runs out', () => {
    const cache = new PagedCache(limitedPool(10), 100)
    const kept = cache.take(8)
    const asked: number[] = []
    cache.makeRoom = (pages) => {
      asked.push(pages)
      for (const page of kept.splice(0, pages)) cache.drop(page)
      return pages
    }
    const sequence = cache.open()
    sequence.extend(6 * 16, 0)
    expect(asked).toEqual([4])
    expect([kept.length, cache.pagesInUse]).toEqual([4, 10])
  })

  test('an error that is not about memory is rethrown unchanged, and nothing is allocated', () => {
    const pool = fakePool()
    pool.add = () => {
      throw new ForetokenError('worker_lost', 'gone')
    }
    const cache = new PagedCache(pool, 8)
    expect(() => cache.open().extend(10, 0)).toThrow(expect.objectContaining({ code: 'worker_lost' }))
    expect(cache.pagesInUse).toBe(0)
  })

  test('no page is ever held twice, and every page is returned', () => {
    const step = fc.record({ who: fc.nat(3), tokens: fc.integer({ min: 1, max: 70 }), release: fc.boolean() })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const cache = new PagedCache(fakePool(), 12)
        const sequences: Sequence[] = Array.from({ length: 4 }, () => cache.open())
        for (const { who, tokens, release } of steps) {
          const sequence = sequences[who]!
          const before = sequence.length
          if (release) sequence.truncate(Math.floor(before / 2))
          else
            try {
              sequence.extend(tokens, 0)
            } catch (error) {
              expect(['out_of_pages', 'context_exceeded']).toContain((error as ForetokenError).code)
              expect(sequence.length).toBe(before)
            }
          const held = sequences.flatMap((each) => [...each.pages])
          expect(new Set(held).size).toBe(held.length)
          expect(cache.pagesInUse).toBe(held.length)
          for (const each of sequences) expect(each.pages.length).toBe(Math.ceil(each.length / pageTokens))
        }
        for (const sequence of sequences) sequence.release()
        expect(cache.pagesInUse).toBe(0)
      }),
    )
  })
})
