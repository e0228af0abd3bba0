/** Defines and checks how tokens are chosen. */
import { wrong } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import { anyFields, anyNumber, type Checks, flag } from '../base/fields.ts'
import type { Filters } from './filters.ts'
import type { Bias, PenaltyOptions } from './penalties.ts'
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
  /**
   * Under a guide, reports log-probabilities of the model's whole distribution instead of that of
   * the tokens which fit; every token is then drawn, even one that the guide forces. Default false.
   */
  readonly rawLogprobs?: boolean | undefined
}

/**
 * The checks of the kinds of these options. Their ranges are checked below.
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
  rawLogprobs: flag,
}

/** Returns the filters of checked options. Throws `bad_argument`. */
export function filtersOf({ temperature, topK, topP, minP }: SamplingOptions): Filters {
  return {
    temperature: inRange('temperature', temperature ?? 0, 0, 100),
    topK: inRange('topK', topK ?? 0, 0, 2 ** 31 - 1, 'whole'),
    topP: inRange('topP', topP ?? 1, 0, 1, 'above'),
    minP: inRange('minP', minP ?? 0, 0, 1),
  }
}

/** Returns the penalties of checked options. Throws `bad_argument`. */
export function penaltiesOf(options: SamplingOptions): PenaltyOptions {
  return {
    repetition: inRange('repetitionPenalty', options.repetitionPenalty ?? 1, 0, 10, 'above'),
    presence: inRange('presencePenalty', options.presencePenalty ?? 0, -2, 2),
    frequency: inRange('frequencyPenalty', options.frequencyPenalty ?? 0, -2, 2),
    bias: biasOf(options.logitBias ?? {}),
  }
}

/** Returns how many of the likeliest tokens are reported. Throws `bad_argument`. */
export function topLogprobsOf({ topLogprobs }: SamplingOptions): number {
  return inRange('topLogprobs', topLogprobs ?? 0, 0, 100, 'whole')
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
