import { describe, expect, test } from 'vitest'
import { filterTokens } from '../../src/decode/filters.ts'
import { expNegative, normalize, topIds } from '../../src/decode/logprobs.ts'
import { createSampler } from '../../src/decode/sampling.ts'
import type { SamplingOptions } from '../../src/decode/sampling-options.ts'
import fc from '../helpers/properties.ts'
import { drawNext, samplerAfter } from '../helpers/samplers.ts'

const logits = (...values: number[]) => Float32Array.from(values)
const someLogits = fc.array(fc.float({ min: -30, max: 30, noNaN: true }), { minLength: 1, maxLength: 200 })
const anyFilters = fc.record({
  temperature: fc.double({ min: 0.05, max: 5, noNaN: true }),
  topK: fc.nat(60),
  topP: fc.double({ min: 0.01, max: 1, noNaN: true }),
  minP: fc.double({ min: 0, max: 1, noNaN: true }),
})

/** Implements the filters by their definitions, with full sorts and `Math.exp`. */
function naiveFilter(scores: Float32Array, filters: { temperature: number; topK: number; topP: number; minP: number }) {
  let order = Array.from(scores.keys()).sort((a, b) => scores[b]! - scores[a]! || a - b)
  if (filters.topK > 0) order = order.slice(0, filters.topK)
  const top = scores[order[0]!]!
  const weight = (id: number) => Math.exp((scores[id]! - top) / filters.temperature)
  if (filters.topP < 1) {
    const mass = order.reduce((sum, id) => sum + weight(id), 0)
    let reached = 0
    const end = order.findIndex((id) => (reached += weight(id)) >= filters.topP * mass)
    order = order.slice(0, end < 0 ? order.length : end + 1)
  }
  order = order.filter((id) => weight(id) >= filters.minP)
  const total = order.reduce((sum, id) => sum + weight(id), 0)
  return new Map(order.map((id) => [id, weight(id) / total]))
}

describe('greedy', () => {
  test('takes the largest logit, and the lowest id on a tie', () => {
    expect(createSampler().sample(logits(1, 3, 3, 2)).id).toBe(1)
  })

  test('reports log-probabilities of the unmodified distribution', () => {
    const sampler = createSampler({ temperature: 0.5, seed: 1, logitBias: { 0: 50 }, topLogprobs: 2 })
    const token = sampler.sample(logits(Math.log(0.1), Math.log(0.6), Math.log(0.3)))
    expect(token.id).toBe(0)
    expect(Math.exp(token.logprob)).toBeCloseTo(0.1, 6)
    expect(token.topLogprobs?.map(({ id }) => id)).toEqual([1, 2])
    expect(Math.exp(token.topLogprobs![0]!.logprob)).toBeCloseTo(0.6, 6)
  })

  test.each([
    ['NaN', logits(0, Number.NaN, 1)],
    ['+Infinity', logits(0, Number.POSITIVE_INFINITY)],
    ['no finite logit', logits(Number.NEGATIVE_INFINITY)],
    ['no logit', logits()],
  ])('refuses %s', (_, bad) => {
    expect(() => createSampler().sample(bad)).toThrow(expect.objectContaining({ code: 'internal' }))
    expect(() => createSampler({ temperature: 1 }).sample(bad)).toThrow(expect.objectContaining({ code: 'internal' }))
  })

  test('a token whose logit is -Infinity is never drawn', () => {
    const sampler = createSampler({ temperature: 2, seed: 3 })
    for (let i = 0; i < 200; i++) expect(drawNext(sampler, logits(0, Number.NEGATIVE_INFINITY, 0)).id).not.toBe(1)
  })
})

describe('penalties', () => {
  test('repetition divides positive and multiplies negative logits, once per id', () => {
    const options = { repetitionPenalty: 2 }
    expect(samplerAfter(options, [0, 0]).sample(logits(3, 2, 1.4)).id).toBe(1)
    expect(samplerAfter(options, [], [0, 0]).sample(logits(3, 2, 1.4)).id).toBe(1)
    expect(samplerAfter(options, [0]).sample(logits(-1, -1.5, -9)).id).toBe(1)
  })

  test('presence and frequency count the answer, not the prompt', () => {
    const scores = logits(2, 1.5)
    expect(samplerAfter({ presencePenalty: 1 }, [0]).sample(scores).id).toBe(0)
    expect(samplerAfter({ presencePenalty: 1 }, [], [0]).sample(scores).id).toBe(1)
    expect(samplerAfter({ frequencyPenalty: 0.3 }, [0], [0]).sample(scores).id).toBe(0)
    expect(samplerAfter({ frequencyPenalty: 0.3 }, [], [0, 0]).sample(scores).id).toBe(1)
  })

  test('a bias outside the vocabulary is refused with the numbers', () => {
    const sampler = createSampler({ logitBias: { 7: 1 } })
    expect(() => sampler.sample(logits(1, 2))).toThrow(/id 7.*0 to 1/)
  })

  test('logits are not modified', () => {
    const given = logits(1, 2, 3)
    samplerAfter({ logitBias: { 1: 9 }, repetitionPenalty: 2, temperature: 1 }, [2]).sample(given)
    expect([...given]).toEqual([1, 2, 3])
  })
})

describe('filters', () => {
  test('match their definitions, keep at least one token, and sum to 1', () => {
    fc.assert(
      fc.property(someLogits, anyFilters, (values, filters) => {
        const scores = Float32Array.from(values)
        const { ids, weights, total } = filterTokens(scores, filters)
        const expected = naiveFilter(scores, filters)
        expect(ids.length).toBeGreaterThan(0)
        let sum = 0
        ids.forEach((id, i) => {
          const probability = weights[i]! / total
          sum += probability
          expect(Math.abs(probability - (expected.get(id) ?? 0))).toBeLessThan(1e-6)
        })
        expect(sum).toBeCloseTo(1, 9)
      }),
      { numRuns: 500 },
    )
  })

  test('the top ids are those of a full sort', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -5, max: 5 }), { maxLength: 80 }), fc.nat(90), (values, k) => {
        const sorted = values.map((_, id) => id).sort((a, b) => values[b]! - values[a]! || a - b)
        expect([...topIds(Float32Array.from(values), k)]).toEqual(sorted.slice(0, k))
      }),
    )
  })

  test('the fast exponential is accurate to 1e-9', () => {
    for (let d = 0; d < 40; d += 0.0137) expect(Math.abs(expNegative(d) / Math.exp(-d) - 1)).toBeLessThan(1e-9)
    expect(expNegative(Number.POSITIVE_INFINITY)).toBe(0)
    expect(expNegative(Number.NaN)).toBeNaN()
  })
})

describe('draws', () => {
  test('a seed reproduces them, as a fixed sequence', () => {
    const ids = (seed: number) => {
      const sampler = createSampler({ temperature: 1, seed })
      return Array.from({ length: 12 }, () => drawNext(sampler, new Float32Array(1000)).id)
    }
    expect(ids(42)).toEqual(ids(42))
    expect(ids(42)).not.toEqual(ids(43))
    expect(ids(2 ** 32 + 42)).not.toEqual(ids(42))
    expect(ids(7)).toMatchInlineSnapshot(`
      [
        865,
        781,
        489,
        996,
        740,
        680,
        860,
        348,
        427,
        495,
        506,
        102,
      ]
    `)
  })

  test.each([1, 2, 3])('follow the distribution (chi-square, seed %i)', (seed) => {
    const scores = logits(0, 1, -1, 0.5, 2, -3)
    const options = { temperature: 1.3, topK: 5, topP: 1, minP: 0 }
    const expected = naiveFilter(scores, options)
    const sampler = createSampler({ ...options, seed })
    const draws = 20_000
    const counts = new Map<number, number>()
    for (let i = 0; i < draws; i++) {
      const { id } = drawNext(sampler, scores)
      counts.set(id, (counts.get(id) ?? 0) + 1)
    }
    let chi = 0
    for (const [id, probability] of expected)
      chi += ((counts.get(id) ?? 0) - draws * probability) ** 2 / (draws * probability)
    expect(counts.has(5)).toBe(false)
    expect(chi).toBeLessThan(18.5) // 4 degrees of freedom, p = 0.001
  })

  test('any options on any logits give an id in the vocabulary', () => {
    fc.assert(
      fc.property(someLogits, anyFilters, fc.integer(), (values, filters, seed) => {
        const { id, logprob } = samplerAfter({ ...filters, seed }, [], [0]).sample(Float32Array.from(values))
        expect(id).toBeGreaterThanOrEqual(0)
        expect(id).toBeLessThan(values.length)
        expect(logprob).toBeLessThanOrEqual(1e-6)
      }),
    )
  })
})

describe('invalid options', () => {
  const bad: [string, SamplingOptions][] = [
    ['temperature', { temperature: -1 }],
    ['temperature', { temperature: Number.NaN }],
    ['topK', { topK: 1.5 }],
    ['topP', { topP: 0 }],
    ['topP', { topP: 1.01 }],
    ['minP', { minP: -0.1 }],
    ['repetitionPenalty', { repetitionPenalty: 0 }],
    ['presencePenalty', { presencePenalty: 3 }],
    ['frequencyPenalty', { frequencyPenalty: -3 }],
    ['seed', { seed: 0.5 }],
    ['topLogprobs', { topLogprobs: 101 }],
    ['logitBias', { logitBias: { '-1': 3 } as Record<number, number> }],
    ['logitBias', { logitBias: { 1: 101 } }],
    ['temperature', { temperature: '1' as unknown as number }],
  ]
  test.each(bad)('%s is refused: %j', (name, options) => {
    expect(() => createSampler(options)).toThrow(expect.objectContaining({ code: 'bad_argument' }))
    expect(() => createSampler(options)).toThrow(name)
  })
})

describe('a shortlist', () => {
  const list = (scores: Float32Array, count: number) => {
    const ids = topIds(scores, count)
    return { ids, logits: Float32Array.from(ids, (id) => scores[id]!), logSum: normalize(scores).logSum }
  }

  test.each<[string, SamplingOptions, number]>([
    ['greedy', {}, 1],
    ['greedy with alternatives', { topLogprobs: 5 }, 5],
    ['top-k', { temperature: 1, topK: 7 }, 7],
    ['top-k with alternatives', { temperature: 1, topK: 2, topLogprobs: 4 }, 4],
    ['all', { temperature: 1 }, Number.POSITIVE_INFINITY],
    ['top-p', { temperature: 1, topP: 0.9 }, Number.POSITIVE_INFINITY],
    ['a penalty', { repetitionPenalty: 1.1 }, Number.POSITIVE_INFINITY],
    ['a bias', { logitBias: { 3: 1 } }, Number.POSITIVE_INFINITY],
  ])('%s: asks for the right number of logits', (_, options, best) => expect(createSampler(options).best).toBe(best))

  test('of enough entries gives the same tokens as all logits', () => {
    const options = fc.record({
      temperature: fc.constantFrom(0, 0.3, 1, 4),
      topK: fc.integer({ min: 1, max: 12 }),
      topP: fc.constantFrom(0.2, 0.9, 1),
      minP: fc.constantFrom(0, 0.1),
      topLogprobs: fc.nat(6),
      seed: fc.nat(),
    })
    fc.assert(
      fc.property(fc.array(someLogits, { minLength: 3, maxLength: 3 }), options, fc.nat(5), (rows, asked, more) => {
        const [whole, short] = [createSampler(asked), createSampler(asked)]
        for (const row of rows) {
          const scores = Float32Array.from([...row, ...Array.from({ length: 20 }, (_, i) => -i)])
          expect(drawNext(short, list(scores, short.best + more))).toEqual(drawNext(whole, scores))
        }
      }),
    )
  })

  test('that is too short is refused', () => {
    const scores = logits(1, 2, 3)
    expect(() => createSampler({ topLogprobs: 3 }).sample(list(scores, 2))).toThrow(/shortlist of 2 logits, where 3/)
  })
})
