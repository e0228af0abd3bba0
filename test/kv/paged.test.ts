import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ForetokenError } from '../../src/errors.ts'
import { PagedCache, type Sequence } from '../../src/kv/paged.ts'
import { pageTokens } from '../../src/types.ts'
import { fakePool } from '../helpers/fake-model.ts'

describe('PagedCache', () => {
  test('a sequence takes a page for every 16 tokens, in order', () => {
    const cache = new PagedCache(fakePool(), 8)
    const sequence = cache.open()
    expect(sequence.extend(1, 0)).toMatchObject({ start: 0, length: 1, past: 0, pages: [0] })
    expect(sequence.extend(15, 4)).toMatchObject({ start: 4, length: 15, past: 1, pages: [0] })
    expect(sequence.extend(1, 0)).toMatchObject({ past: 16, pages: [0, 1] })
    expect(cache.pagesInUse).toBe(2)
  })

  test('a refused extension takes nothing and says how many pages there are', () => {
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

  test('a shared page is free only when both holders dropped it', () => {
    const cache = new PagedCache(fakePool(), 2)
    const [page] = cache.take() as [number]
    cache.share(page)
    cache.drop(page)
    expect(cache.pagesInUse).toBe(1)
    cache.drop(page)
    expect(cache.pagesInUse).toBe(0)
    expect(() => cache.drop(page)).toThrow(/not in use/)
  })

  test('no page is ever held twice, and every page comes back', () => {
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
