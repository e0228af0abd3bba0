/**
 * Checks what choosing a token costs, in reads and comparisons: it is bounded by the vocabulary and
 * the new tokens, whatever the options are.
 */

import { afterEach, describe, expect, test, vi } from 'vitest'
import { draw, drawToken } from '../../src/decode/draw.ts'
import { filterTokens } from '../../src/decode/filters.ts'
import { expNegative } from '../../src/decode/logprobs.ts'
import { topIds } from '../../src/decode/order.ts'
import { sortBest } from '../../src/decode/radix-sort.ts'
import { createSampler } from '../../src/decode/sampling.ts'
import type { SamplingOptions } from '../../src/decode/sampling-options.ts'
import fc from '../helpers/properties.ts'
import { random } from '../helpers/random.ts'
import { drawNext, samplerAfter } from '../helpers/samplers.ts'

const vocab = 20_000

afterEach(() => vi.restoreAllMocks())

/** Wraps `list` so that reads of its elements are counted. */
function counted<T extends object>(list: T): { list: T; reads: () => number } {
  let reads = 0
  const get = (target: T, key: string | symbol) => {
    if (typeof key === 'string' && key.charCodeAt(0) < 58) reads++
    const value = Reflect.get(target, key)
    return typeof value === 'function' ? value.bind(target) : value
  }
  return { list: new Proxy(list, { get }), reads: () => reads }
}

/** Counts the elements that any call of a sort orders by comparison. */
function countComparing(): () => number {
  let elements = 0
  for (const of of [Array, Int32Array, Float32Array, Float64Array]) {
    const { sort } = of.prototype as unknown[]
    vi.spyOn(of.prototype as unknown[], 'sort').mockImplementation(function (this: unknown[], by) {
      elements += this.length
      return sort.call(this, by)
    })
  }
  return () => elements
}

/**
 * Returns scores with many equals, the largest at the end: the worst case for a heap of the best.
 */
function rising(length: number): Float32Array {
  return Float32Array.from({ length }, (_, id) => Math.floor(id / 3) / 5000)
}

const everything: [string, SamplingOptions][] = [
  ['top-p of nearly all', { temperature: 100, topP: 0.99999 }],
  ['top-k of nearly all', { temperature: 100, topK: vocab - 1 }],
  ['top-k of half, and min-p', { temperature: 2, topK: vocab / 2, minP: 1e-9 }],
  ['min-p', { temperature: 100, minP: 1e-9 }],
  ['alternatives', { temperature: 1, topLogprobs: 100 }],
  ['all of them', { temperature: 100, topK: vocab - 1, topP: 0.99999, minP: 1e-9, topLogprobs: 100 }],
]

describe('a token', () => {
  test.each(everything)(
    'costs at most a dozen reads of each score, and no long list is sorted by comparison: %s',
    (_, options) => {
      for (const scores of [rising(vocab), random(1).floats(vocab), new Float32Array(vocab)]) {
        const { list, reads } = counted(scores)
        const sorted = countComparing()
        createSampler({ ...options, seed: 1 }).sample(list)
        // A heap of the hundred best reads some scores again.
        expect(reads()).toBeLessThan(12 * vocab + (options.topLogprobs ? 30 * vocab : 0))
        expect(sorted()).toBeLessThan(500)
        vi.restoreAllMocks()
      }
    },
  )

  test.each([
    ['temperature', { temperature: 1 }],
    ['a high temperature', { temperature: 100 }],
    ['top-k of all', { temperature: 1, topK: vocab }],
    ['top-p', { temperature: 0.05, topP: 0.9 }],
    ['min-p', { temperature: 0.05, minP: 0.1 }],
  ] satisfies [string, SamplingOptions][])(
    'allocates no temporary list that is as long as the vocabulary: %s',
    (_, options) => {
      const scores = random(4).floats(vocab)
      const sampler = createSampler({ ...options, seed: 1 })
      let elements = 0
      for (const name of ['Int32Array', 'Float32Array', 'Float64Array'] as const) {
        const construct = (of: new (...args: unknown[]) => { length: number }, args: unknown[]) => {
          const made = Reflect.construct(of, args)
          elements += made.length
          return made
        }
        vi.stubGlobal(name, new Proxy(globalThis[name], { construct } as ProxyHandler<typeof Int32Array>))
      }
      sampler.sample(scores)
      vi.unstubAllGlobals()
      expect(elements).toBeLessThan(vocab / 4)
    },
  )

  test('is drawn from the whole vocabulary as from lists of ids and weights', () => {
    for (let seed = 0; seed < 60; seed++) {
      const rng = random(seed)
      const scores = rng.floats(500 + seed).map((score, id) => (id % 5 === 0 ? Number.NEGATIVE_INFINITY : 8 * score))
      const filters = { temperature: [0.05, 0.7, 1, 30][seed % 4]!, topK: [0, 1000][seed % 2]!, topP: 1, minP: 0 }
      for (const uniform of [0, 1 - 2 ** -53, ...Array.from({ length: 20 }, rng.unit)])
        expect(drawToken(scores, filters, uniform), `seed ${seed}`).toBe(draw(filterTokens(scores, filters), uniform))
    }
  })

  test('costs the same for longer prompts and answers: earlier tokens are read once', () => {
    const prompt = Array.from({ length: 3000 }, (_, i) => (i * 7) % 50)
    const { list, reads } = counted(prompt)
    const options = { repetitionPenalty: 1.1, presencePenalty: 1, frequencyPenalty: 0.5, seed: 1 }
    const sampler = createSampler(options, { prompt: list })
    const scores = random(2).floats(64)
    for (let n = 0; n < 500; n++) drawNext(sampler, scores)
    expect(reads()).toBeLessThan(2 * prompt.length)
  })

  test('gets the same penalties and random numbers as from a sampler that repeats the answer', () => {
    const options = { temperature: 1, repetitionPenalty: 1.3, presencePenalty: 1.5, frequencyPenalty: -0.4 }
    const bias = Object.fromEntries(Array.from({ length: 50 }, (_, id) => [id, (id % 7) - 3]))
    const prompt = Array.from({ length: 20 }, (_, i) => i % 60)
    const whole = { ...options, logitBias: bias, seed: 5 }
    const growing = createSampler(whole, { prompt })
    const answer: number[] = []
    for (let n = 0; n < 60; n++) {
      const scores = random(n).floats(64)
      // A token that was forced or came from elsewhere uses up its random number, too.
      const id = n % 4 === 3 ? (n * 7) % 64 : growing.sample(scores).id
      if (n % 4 !== 3) expect(growing.sample(scores)).toEqual(samplerAfter(whole, prompt, answer).sample(scores))
      growing.accept(id)
      answer.push(id)
    }
  })
})

describe('the order', () => {
  const scored = fc.array(
    fc.oneof(fc.float({ noNaN: true }), fc.constantFrom(0, -0, 1, -1, -Infinity, 1e-40, -1e-40)),
    { maxLength: 600 },
  )

  test('equals a full sort, with ties by id, at every length', () => {
    fc.assert(
      fc.property(scored, fc.nat(700), (values, k) => {
        const scores = Float32Array.from(values)
        const sorted = values.map((_, id) => id).sort((a, b) => scores[b]! - scores[a]! || a - b)
        // -Infinity is the score of tokens that must not be drawn.
        const drawable = sorted.filter((id) => scores[id]! > Number.NEGATIVE_INFINITY)
        expect([...topIds(scores, k)]).toEqual(drawable.slice(0, k))
        const some = Int32Array.from(sorted.keys()).filter((id) => id % 3 !== 0)
        expect([...sortBest(scores, some)]).toEqual(sorted.filter((id) => id % 3 !== 0))
      }),
    )
  })

  test.each([128, 129, 2048, 2049])('is the same for %i ids with either sort', (length) => {
    const scores = random(length)
      .floats(length)
      .map((score) => Math.round(score * 20))
    const sorted = Array.from(scores.keys()).sort((a, b) => scores[b]! - scores[a]! || a - b)
    expect([...topIds(scores, length)]).toEqual(sorted)
  })

  test('gives the same draws as full sorts, bit for bit', () => {
    for (let seed = 0; seed < 40; seed++) {
      const rng = random(seed)
      const scores = rng.floats(3000).map((score) => (seed % 2 ? Math.round(4 * score) : score))
      const filters = {
        temperature: [0.5, 1, 20][seed % 3]!,
        topK: [0, 100, 129, 2000][seed % 4]!,
        topP: [1, 0.9, 0.9999][Math.floor(seed / 4) % 3]!,
        minP: [0, 0.01][Math.floor(seed / 12) % 2]!,
      }
      const { ids, weights, total } = filterTokens(scores, filters)
      const best = Array.from(scores.keys()).sort((a, b) => scores[b]! - scores[a]! || a - b)
      const weight = (id: number) => expNegative((scores[best[0]!]! - scores[id]!) * (1 / filters.temperature))
      // By id if neither top-k nor top-p is on.
      const listed = filters.topK === 0 && filters.topP === 1 ? [...best].sort((a, b) => a - b) : best
      const expected = listed.filter((id) => ids.includes(id))
      expect([...ids]).toEqual(expected)
      expect([...weights]).toEqual(expected.map(weight))
      expect(total).toBe(expected.map(weight).reduce((sum, one) => sum + one, 0))
    }
  })
})
