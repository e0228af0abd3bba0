/** Tests the rule by which tokens stand that were drawn from other scores. */
import { describe, expect, test } from 'vitest'
import { createSampler } from '../../src/decode/sampling.ts'
import type { SamplingOptions } from '../../src/decode/sampling-options.ts'
import { random } from '../helpers/random.ts'
import { seed } from '../helpers/seed.ts'

const vocab = 12

/** Returns scores, and others that are near or far. */
function scoresOf(rng: ReturnType<typeof random>, apart: number) {
  const exact = rng.floats(vocab).map((value) => 1.5 * value)
  const drafted = exact.map((value) => value + apart * rng.normal())
  return { exact, drafted }
}

/** Draws a token from the draft's scores and checks it by the exact ones, with a fresh sampler each time. */
function outcome(options: SamplingOptions, { exact, drafted }: ReturnType<typeof scoresOf>) {
  const sampler = createSampler(options)
  const { token, draft } = sampler.draft(drafted)
  const other = createSampler(options).check(exact, token.id, draft)
  return { id: other?.id ?? token.id, stood: other === undefined, other }
}

/** Exact probabilities as the filters leave them, by counting what `sample` draws. */
function shares(draws: number, draw: (at: number) => number): number[] {
  const counts = new Array<number>(vocab).fill(0)
  for (let at = 0; at < draws; at++) counts[draw(at)]!++
  return counts.map((count) => count / draws)
}

const draws = 4_000
/** Five deviations of a share that is counted over as many draws, twice. */
const within = 5 * Math.sqrt(0.5 / draws)

describe('sampled tokens', () => {
  test.each([
    ['temperature only', { temperature: 1 }],
    ['a high temperature', { temperature: 2 }],
    ['top-k', { temperature: 1, topK: 4 }],
    ['top-p', { temperature: 1, topP: 0.7 }],
    ['min-p', { temperature: 1, minP: 0.2 }],
    ['a bias', { temperature: 0.8, logitBias: { 3: 2, 5: -100 } }],
  ])('have their exact probabilities, whatever they were drawn from: %s', (_, options) => {
    const rng = random(seed)
    for (const apart of [0.3, 3]) {
      const scores = scoresOf(rng, apart)
      const want = shares(draws, (at) => createSampler({ ...options, seed: at }).sample(scores.exact).id)
      let stood = 0
      const got = shares(draws, (at) => {
        const { id, stood: one } = outcome({ ...options, seed: at + draws }, scores)
        if (one) stood++
        return id
      })
      for (let id = 0; id < vocab; id++) expect(Math.abs(got[id]! - want[id]!), `token ${id}`).toBeLessThan(within)
      expect(stood).toBeGreaterThan(0)
    }
  })

  test('stand as often as speculative sampling lets them: the part that both distributions share', () => {
    const scores = scoresOf(random(seed + 1), 1)
    const probabilities = (logits: Float32Array) => {
      const all = Array.from(logits, (value) => Math.exp(value))
      const total = all.reduce((sum, one) => sum + one, 0)
      return all.map((one) => one / total)
    }
    const [p, q] = [probabilities(scores.exact), probabilities(scores.drafted)]
    const common = p.reduce((sum, one, id) => sum + Math.min(one, q[id]!), 0)
    let stood = 0
    for (let at = 0; at < draws; at++) if (outcome({ temperature: 1, seed: at }, scores).stood) stood++
    expect(Math.abs(stood / draws - common)).toBeLessThan(within)
  })

  test('all stand where the scores are the same', () => {
    const { exact } = scoresOf(random(seed + 2), 0)
    for (const options of [{ temperature: 1 }, { temperature: 1, topP: 0.8 }, { temperature: 0.5, topK: 3 }])
      for (let at = 0; at < 500; at++)
        expect(outcome({ ...options, seed: at }, { exact, drafted: exact }).stood).toBe(true)
  })

  test('never stand if exact scores exclude them, and are reproducible by their seed', () => {
    const scores = scoresOf(random(seed + 3), 0)
    const drafted = scores.exact.slice()
    drafted[7] = 20
    for (let at = 0; at < 200; at++) {
      const options = { temperature: 1, topK: 2, seed: at }
      const one = outcome(options, { exact: scores.exact, drafted })
      expect(one).toEqual(outcome(options, { exact: scores.exact, drafted }))
      const allowed = Array.from(scores.exact.keys()).sort((a, b) => scores.exact[b]! - scores.exact[a]!)
      if (!allowed.slice(0, 2).includes(7)) expect(one.id).not.toBe(7)
      expect(allowed.slice(0, 2)).toContain(one.id)
    }
  })

  test('a check draws numbers of its own: the tokens after it are drawn as without it', () => {
    const { exact, drafted } = scoresOf(random(seed + 4), 1)
    const options = { temperature: 1, seed: 11 }
    const [checking, plain] = [createSampler(options), createSampler(options)]
    const { token, draft } = checking.draft(drafted)
    const id = checking.check(exact, token.id, draft)?.id ?? token.id
    for (const sampler of [checking, plain]) sampler.accept(id)
    expect(checking.sample(exact)).toEqual(plain.sample(exact))
  })

  test('a vocabulary beyond the longest draft is drawn among its best, and exactly still', () => {
    const rng = random(seed + 5)
    const wide = rng.floats(5000).map((value) => 0.1 * value)
    const other = wide.map((value) => value + 0.01 * rng.normal())
    let rank = 0
    for (let at = 0; at < 100; at++) {
      const sampler = createSampler({ temperature: 1, seed: at })
      const { token, draft } = sampler.draft(other)
      expect(draft!.ids.length).toBe(2048)
      const id = createSampler({ temperature: 1, seed: at }).check(wide, token.id, draft)?.id ?? token.id
      rank += wide.filter((value) => value > wide[id]!).length
    }
    // Nearly even scores: the mean rank is near the middle, which a draft's best never reach.
    expect(rank / 100).toBeGreaterThan(2000)
  })
})

describe('greedy tokens', () => {
  test('stand if they are the best, the lowest id among equals', () => {
    const scores = Float32Array.from([1, 3, 3, 2])
    for (const id of [0, 1, 2, 3]) {
      const other = createSampler().check(scores, id, undefined)
      expect(other?.id).toBe(id === 1 ? undefined : 1)
    }
    const list = { logits: Float32Array.from([3, 2]), ids: Int32Array.from([9, 4]), logSum: 3.4 }
    expect(createSampler().check(list, 9, undefined)).toBeUndefined()
    expect(createSampler().check(list, 4, undefined)).toMatchObject({ id: 9 })
  })

  test('are compared after penalties and bans', () => {
    const scores = Float32Array.from([1, 3, 2.9, 2])
    const sampler = createSampler({ presencePenalty: 2 }, { ban: { ids: [2], until: 2 } })
    sampler.accept(1)
    expect(sampler.check(scores, 1, undefined)).toMatchObject({ id: 3 })
    sampler.accept(3)
    expect(sampler.check(scores, 2, undefined)).toBeUndefined()
  })
})
