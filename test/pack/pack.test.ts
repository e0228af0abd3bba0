import { describe, expect, test } from 'vitest'
import { PagedCache } from '../../src/kv/paged.ts'
import { binsOf } from '../../src/onnx/bins.ts'
import { pack } from '../../src/pack/pack.ts'
import { passesOf } from '../../src/pack/passes.ts'
import { fakePool } from '../helpers/fake-model.ts'
import fc from '../helpers/properties.ts'

const lengths = fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 60 })
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0)

describe('passesOf', () => {
  test('prompts lie end to end, split at the budget', () => {
    expect(passesOf([3, 1, 7], 5)).toEqual([
      [
        { index: 0, from: 0, to: 3 },
        { index: 1, from: 0, to: 1 },
        { index: 2, from: 0, to: 1 },
      ],
      [{ index: 2, from: 1, to: 6 }],
      [{ index: 2, from: 6, to: 7 }],
    ])
    expect(passesOf([], 5)).toEqual([])
  })

  test('every token once, in order, in as few passes as possible', () => {
    fc.assert(
      fc.property(lengths, fc.integer({ min: 1, max: 64 }), (all, budget) => {
        const passes = passesOf(all, budget)
        expect(passes.length).toBe(Math.ceil(sum(all) / budget))
        const done = all.map(() => 0)
        for (const [at, pieces] of passes.entries()) {
          const tokens = sum(pieces.map(({ from, to }) => to - from))
          if (at < passes.length - 1) expect(tokens).toBe(budget)
          for (const { index, from, to } of pieces) {
            expect(from).toBe(done[index])
            expect(to).toBeGreaterThan(from)
            done[index] = to
          }
        }
        expect(done).toEqual(all)
      }),
    )
  })
})

describe('binsOf', () => {
  test('the longest first, each into the fullest bin that holds it', () => {
    // 7 | 6 4 | 5 3 2: 4 fits exactly with 6, 3 with 7, and 2 joins 5.
    expect(binsOf([4, 7, 2, 6, 3, 5], 10)).toEqual([
      {
        prompts: [
          { index: 1, offset: 0 },
          { index: 4, offset: 7 },
        ],
        tokens: 10,
      },
      {
        prompts: [
          { index: 3, offset: 0 },
          { index: 0, offset: 6 },
        ],
        tokens: 10,
      },
      {
        prompts: [
          { index: 5, offset: 0 },
          { index: 2, offset: 5 },
        ],
        tokens: 7,
      },
    ])
  })

  test('a prompt longer than a bin is named', () => {
    expect(() => binsOf([3, 11], 10)).toThrow(
      expect.objectContaining({ code: 'bad_argument', message: 'prompt 1 has 11 tokens and a bin 10' }),
    )
  })

  test('every prompt once, without overflow or overlap, within the bound of best fit', () => {
    fc.assert(
      fc.property(lengths, fc.integer({ min: 300, max: 600 }), (all, capacity) => {
        const bins = binsOf(all, capacity)
        const seen = bins.flatMap(({ prompts }) => prompts.map(({ index }) => index))
        expect(seen.sort((a, b) => a - b)).toEqual(all.map((_, index) => index))
        for (const { prompts, tokens } of bins) {
          let end = 0
          for (const { index, offset } of prompts) {
            expect(offset).toBe(end)
            end += all[index]!
          }
          expect(end).toBe(tokens)
          expect(tokens).toBeLessThanOrEqual(capacity)
        }
        // At most 11/9 of the optimum + 6/9; half-full bins alone bound the optimum from below.
        if (all.length > 0) expect(bins.length).toBeLessThanOrEqual(2 * Math.ceil(sum(all) / capacity))
      }),
    )
  })
})

describe('pack', () => {
  test('a failure leaks no page', () => {
    const cache = new PagedCache(fakePool(), 3)
    const [one, two] = [cache.open(), cache.open()]
    const run = (sequence: typeof one, tokens: number) => ({
      sequence,
      ids: new Array<number>(tokens).fill(1),
      outputs: 'last' as const,
    })
    expect(() => pack([run(one, 20), run(two, 20)])).toThrow(expect.objectContaining({ code: 'out_of_pages' }))
    expect([one.length, two.length, cache.pagesInUse]).toEqual([0, 0, 0])
    const pass = pack([run(one, 20), run(two, 5)])
    expect(pass.outputs).toEqual([19, 24])
    expect(pass.segments).toMatchObject([
      { start: 0, length: 20, past: 0 },
      { start: 20, length: 5, past: 0 },
    ])
  })
})
