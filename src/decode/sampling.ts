/**
 * Chooses the next token: penalties -> logit bias -> temperature -> top-k -> top-p -> min-p ->
 * draw.
 *
 * Log-probabilities describe the model's own distribution, before all of these steps, as clients of
 * OpenAI's API expect.
 */
import type { Scores, Shortlist } from '../backend/backend.ts'
import { at, defined } from '../base/at.ts'
import { wrong } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import { anyFields, anyNumber, type Checks } from '../base/fields.ts'
import { drawToken, type Filters } from './filters.ts'
import { argmax, normalize } from './logprobs.ts'
import { topIds } from './order.ts'
import { type Bias, createPenalties, type Penalties } from './penalties.ts'
import { createRandom } from './random.ts'
import { checkedSeed, type Seed } from './seed.ts'

/** How tokens are chosen. Every option is optional. */
export interface SamplingOptions {
  /** 0 = greedy: the likeliest token, the lowest id among equals. 0 to 100, default 0. */
  readonly temperature?: number | undefined
  /** Draws among the k best tokens only; 0 = all. Default 0. */
  readonly topK?: number | undefined
  /**
   * Draws among the fewest best tokens that together reach this probability. Above 0 to 1, default
   * 1.
   */
  readonly topP?: number | undefined
  /** Drops tokens with less than this share of the best token's probability. 0 to 1, default 0. */
  readonly minP?: number | undefined
  /** Makes ids of prompt and answer less likely. Above 0 to 10, default 1 = off. */
  readonly repetitionPenalty?: number | undefined
  /** Subtracted from the logits of ids that the answer holds. -2 to 2, default 0. */
  readonly presencePenalty?: number | undefined
  /** Subtracted for every time that the answer holds the id. -2 to 2, default 0. */
  readonly frequencyPenalty?: number | undefined
  /** The same seed and logits give the same tokens on every platform. Default: random. */
  readonly seed?: Seed | undefined
  /** Added to the logits of these ids, -100 to 100. */
  readonly logitBias?: Readonly<Record<number, number>> | undefined
  /** How many of the likeliest tokens to report at each step. 0 to 100, default 0. */
  readonly topLogprobs?: number | undefined
}

/**
 * The checks of the kinds of these options. `createSampler` checks their ranges.
 */
export const samplingChecks: Checks<SamplingOptions> = {
  temperature: anyNumber,
  topK: anyNumber,
  topP: anyNumber,
  minP: anyNumber,
  repetitionPenalty: anyNumber,
  presencePenalty: anyNumber,
  frequencyPenalty: anyNumber,
  seed: (_, value) => checkedSeed(value as Seed),
  logitBias: anyFields(),
  topLogprobs: anyNumber,
}

/** A chosen token with its natural log-probability. */
export interface SampledToken {
  readonly id: number
  readonly logprob: number
  /** Likeliest first; absent unless requested. */
  readonly topLogprobs?: readonly { readonly id: number; readonly logprob: number }[]
}

/** Chooses the tokens of one answer. */
export interface Sampler {
  /** How many of the best logits the sampler reads; Infinity if it reads all. */
  readonly best: number
  /**
   * Returns the next token for `scores`, which hold at least the `best` logits and are not changed.
   * `history` is the prompt and the answer so far; the answer, which presence and frequency
   * penalties count, begins at `generatedFrom`. Throws `internal` for logits that are NaN.
   */
  sample(scores: Scores, history?: readonly number[], generatedFrom?: number): SampledToken
  /**
   * Advances the random numbers past a token that was chosen elsewhere: later tokens are the same
   * as if it had been drawn here.
   */
  skip(): void
}

/** Tokens that must not be drawn while an answer is short. */
export interface EarlyBan {
  readonly ids: readonly number[]
  /** The ban ends when the answer has this many tokens. */
  readonly until: number
}

/**
 * Checks the options once and returns a sampler, which holds the state of its random numbers.
 * Throws `bad_argument`.
 */
export function createSampler(options: SamplingOptions = {}, ban: EarlyBan = { ids: [], until: 0 }): Sampler {
  const filters = filtersOf(options)
  const penalties = penaltiesOf(options)
  const topLogprobs = inRange('topLogprobs', options.topLogprobs ?? 0, 0, 100, 'whole')
  const random = createRandom(options.seed === undefined ? undefined : checkedSeed(options.seed))
  const bans = ban.ids.length > 0 && ban.until > 0
  const neutral = penalties.neutral && !bans
  // 1 / temperature must stay finite, and long before that only the likeliest token has a chance.
  const greedy = filters.temperature < 1e-6
  let scratch = new Float32Array(0)

  const drawn = greedy ? 1 : filters.topK || Number.POSITIVE_INFINITY
  const best = neutral ? Math.max(drawn, topLogprobs) : Number.POSITIVE_INFINITY

  /** Samples from a shortlist, where a position is a rank and not an id. */
  function ofShortlist({ logits, ids, logSum }: Shortlist): SampledToken {
    if (best > ids.length)
      throw new ForetokenError('internal', `a shortlist of ${ids.length} logits, where ${best} are read`)
    const rank = greedy ? 0 : drawToken(logits, filters, random())
    const scored = (rank: number) => ({ id: at(ids, rank), logprob: at(logits, rank) - logSum })
    if (topLogprobs === 0) return scored(rank)
    return { ...scored(rank), topLogprobs: Array.from({ length: topLogprobs }, (_, rank) => scored(rank)) }
  }

  return {
    best,
    skip() {
      if (!greedy) random()
    },
    sample(logits, history = [], generatedFrom = 0) {
      if ('ids' in logits) return ofShortlist(logits)
      const raw = normalize(logits)
      let scores = logits
      if (!neutral) {
        if (scratch.length !== logits.length) scratch = new Float32Array(logits.length)
        scratch.set(logits)
        penalties.apply(scratch, history, generatedFrom)
        if (bans && history.length - generatedFrom < ban.until) forbid(ban.ids, scratch)
        scores = scratch
      }
      const id = greedy ? (neutral ? raw.id : argmax(scores)) : drawToken(scores, filters, random())
      const scored = (id: number) => ({ id, logprob: at(logits, id) - raw.logSum })
      if (topLogprobs === 0) return scored(id)
      return { ...scored(id), topLogprobs: Array.from(topIds(logits, topLogprobs), scored) }
    },
  }
}

function filtersOf({ temperature, topK, topP, minP }: SamplingOptions): Filters {
  return {
    temperature: inRange('temperature', temperature ?? 0, 0, 100),
    topK: inRange('topK', topK ?? 0, 0, 2 ** 31 - 1, 'whole'),
    topP: inRange('topP', topP ?? 1, 0, 1, 'above'),
    minP: inRange('minP', minP ?? 0, 0, 1),
  }
}

function penaltiesOf(options: SamplingOptions): Penalties {
  return createPenalties({
    repetition: inRange('repetitionPenalty', options.repetitionPenalty ?? 1, 0, 10, 'above'),
    presence: inRange('presencePenalty', options.presencePenalty ?? 0, -2, 2),
    frequency: inRange('frequencyPenalty', options.frequencyPenalty ?? 0, -2, 2),
    bias: biasOf(options.logitBias ?? {}),
  })
}

/** Forbids tokens, unless no other token would be left. */
function forbid(ids: readonly number[], scores: Float32Array): void {
  const before = ids.map((id) => scores[id])
  for (const id of ids) if (id < scores.length) scores[id] = Number.NEGATIVE_INFINITY
  if (scores[argmax(scores)] !== Number.NEGATIVE_INFINITY) return
  ids.forEach((id, index) => {
    if (id < scores.length) scores[id] = defined(before[index])
  })
}

type Kind = 'any' | 'above' | 'whole'

/**
 * Returns `value` if it is a number from `low` (with 'above': greater than `low`) to `high`. Throws
 * `bad_argument` otherwise.
 */
function inRange(name: string, value: unknown, low: number, high: number, kind: Kind = 'any'): number {
  const fits = typeof value === 'number' && value >= low && value <= high && !(kind === 'above' && value === low)
  if (fits && (kind !== 'whole' || Number.isInteger(value))) return value
  const range = `${kind === 'above' ? 'above' : 'from'} ${low} to ${high}`
  throw wrong(name, `a ${kind === 'whole' ? 'whole ' : ''}number ${range}`, value)
}

function biasOf(bias: Readonly<Record<number, number>>): Bias {
  const entries = Object.entries(bias)
  const [ids, values] = [new Int32Array(entries.length), new Float64Array(entries.length)]
  entries.forEach(([key, value], index) => {
    if (!/^\d{1,9}$/.test(key))
      throw new ForetokenError('bad_argument', `logitBias names "${key}"; its keys are token ids, whole numbers from 0`)
    ids[index] = Number(key)
    values[index] = inRange(`logitBias[${key}]`, value, -100, 100)
  })
  return { ids, values }
}
