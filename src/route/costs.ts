/**
 * What each way to a first token should take, milliseconds, from measured costs.
 *
 *     local      queue + fixed + tokens x local ms/token (by prompt length; exact and predicted apart)
 *     remote KV  RTT + queue + max(tokens x remote ms/token, bytes / bandwidth) + the last tile's transfer + the last page here
 *     relay      RTT + queue + tokens x remote ms/token
 *
 * K and V leave while later ones are computed, so the slower of computing and sending counts. What the formulas leave out (a queue
 * that grew, a machine that does two things at once) is in a factor for each way, learned from what it took.
 */
import { type Estimate, Measure } from './measure.ts'

export type Way = 'local' | 'remote' | 'relay' | 'race'

/** Tokens of a prompt that are not in the prefix cache, by powers of two: short prompts cost more a token. */
const buckets = 14

/** Tokens that a stream of K and V sends at a time. */
export const tileTokens = 64
/** Tokens behind the last whole page: they are run here. */
const tailTokens = 16

export class LocalCosts {
  readonly #perToken: Measure[]

  /** Before anything was measured: milliseconds a token. */
  constructor(prior: number) {
    this.#perToken = Array.from({ length: buckets }, () => new Measure(prior, 0.5))
  }

  /** `tokens` were read in `ms`. Lengths that were never seen are taken to cost as much a token. */
  learn(tokens: number, ms: number, now: number): void {
    if (tokens < 1 || !(ms > 0)) return
    const bucket = bucketOf(tokens)
    this.#perToken[bucket]!.learn(ms / tokens, now)
  }

  estimate(tokens: number, now: number): Estimate {
    return scaled(this.#nearest(bucketOf(tokens)).estimate(now), tokens)
  }

  #nearest(bucket: number): Measure {
    for (let apart = 0; apart < buckets; apart++)
      for (const at of [bucket + apart, bucket - apart])
        if ((this.#perToken[at]?.count ?? 0) > 0) return this.#perToken[at]!
    return this.#perToken[bucket]!
  }
}

/** What a companion says of itself. */
export interface RemoteStatus {
  readonly rttMs: number
  /** Of prompts that it read lately; undefined where it has read none. */
  readonly msPerToken: number | undefined
  /** Prompts before one that would come now. */
  readonly prompts: number
}

/** A prompt that a companion has before ours, as it is guessed: tokens. */
const queuedTokens = 64

/** What is known of one companion. */
export class RemoteCosts {
  readonly rtt = new Measure(50, 1)
  readonly perToken = new Measure(1, 1)
  /** Bytes a millisecond. */
  readonly bandwidth = new Measure(6250, 1)
  readonly queue = new Measure(5, 2)
  /** By way and length: what it took by what the formula says. */
  readonly #factors = new Map<string, Measure>()

  estimate(way: 'remote' | 'relay', prompt: RemotePromptCost, now: number): Estimate {
    const formula = this.#formula(way, prompt, now)
    return this.#corrected(way, prompt.tokens, { mean: formula, deviation: 0, doubt: 0 }, now)
  }

  /** Of `local` and `remote` at once. They may disturb each other, most on one machine: what that costs is learned. */
  race(local: Estimate, remote: Estimate, tokens: number, now: number): Estimate {
    return this.#corrected('race', tokens, earlier(local, remote), now)
  }

  /** `expected`: what `race` said, by its mean. */
  learnRace(expected: number, tokens: number, ms: number, now: number): void {
    const told = this.#factor('race', tokens).estimate(now).mean
    this.#learnFactor('race', tokens, (ms / Math.max(expected, 0.1)) * told, now)
  }

  learnStatus({ rttMs, msPerToken, prompts }: RemoteStatus, now: number): void {
    this.rtt.learn(rttMs, now)
    if (msPerToken !== undefined) this.perToken.learn(msPerToken, now)
    this.queue.learn(prompts * queuedTokens * this.perToken.estimate(now).mean, now)
  }

  /** A prompt took `ms` this way, to the first token. */
  learn(way: 'remote' | 'relay', prompt: RemotePromptCost, ms: number, now: number): void {
    // While its speed was never measured what is left over tells that. A factor learned from a guess would have to be
    // unlearned when a measurement comes, and until then both would correct the same error.
    if (this.perToken.count === 0) {
      const left = ms - this.#before(now) - (way === 'remote' ? tailTokens * prompt.localMsPerToken : 0)
      this.perToken.learn(Math.max(0.01, left / Math.max(1, prompt.tokens)), now)
      return
    }
    this.#learnFactor(way, prompt.tokens, ms / this.#formula(way, prompt, now), now)
  }

  /** `raw` times what was learned of this way and length. */
  #corrected(way: Way, tokens: number, raw: Estimate, now: number): Estimate {
    const factor = this.#factor(way, tokens).estimate(now)
    return {
      mean: raw.mean * factor.mean,
      deviation: Math.hypot(raw.deviation, raw.mean * factor.deviation),
      doubt: Math.hypot(raw.doubt, raw.mean * factor.doubt),
    }
  }

  #learnFactor(way: Way, tokens: number, ratio: number, now: number): void {
    // One outlier is no law.
    this.#factor(way, tokens).learn(Math.min(10, Math.max(0.1, ratio)), now)
  }

  #formula(way: 'remote' | 'relay', { tokens, bytesPerToken, localMsPerToken }: RemotePromptCost, now: number): number {
    const mean = (measure: Measure) => measure.estimate(now).mean
    const compute = tokens * mean(this.perToken)
    const before = this.#before(now)
    if (way === 'relay') return before + compute
    const perToken = bytesPerToken / mean(this.bandwidth)
    const last = Math.min(tokens, tileTokens) * perToken
    return before + Math.max(compute + last, tokens * perToken) + tailTokens * localMsPerToken
  }

  #before(now: number): number {
    return this.rtt.estimate(now).mean + this.queue.estimate(now).mean
  }

  #factor(way: Way, tokens: number): Measure {
    const name = `${way} ${bucketOf(tokens)}`
    const found = this.#factors.get(name) ?? new Measure(1, 0.5)
    this.#factors.set(name, found)
    return found
  }
}

export interface RemotePromptCost {
  /** Not in the prefix cache here. */
  readonly tokens: number
  /** Of K and V on the wire. */
  readonly bytesPerToken: number
  readonly localMsPerToken: number
}

/**
 * Of two that run at once, when the first is done: the mean of the smaller of two normal variables (C. E. Clark, The greatest of a
 * finite set of random variables, 1961).
 */
export function earlier(a: Estimate, b: Estimate): Estimate {
  const spread = Math.hypot(a.deviation + a.doubt, b.deviation + b.doubt)
  const doubt = Math.min(a.doubt, b.doubt)
  if (spread === 0) return { mean: Math.min(a.mean, b.mean), deviation: 0, doubt }
  const apart = (b.mean - a.mean) / spread
  const mean =
    a.mean * below(apart) + b.mean * below(-apart) - spread * Math.exp(-(apart ** 2) / 2) * 0.3989422804014327
  return { mean: Math.max(0, mean), deviation: Math.min(a.deviation, b.deviation), doubt }
}

/** Of a standard normal variable, the share below `x`: the logistic approximation of Bowling et al. (2009), within 0.0002. */
function below(x: number): number {
  return 1 / (1 + Math.exp(-(0.07056 * x ** 3 + 1.5976 * x)))
}

function scaled({ mean, deviation, doubt }: Estimate, by: number): Estimate {
  return { mean: mean * by, deviation: deviation * by, doubt: doubt * by }
}

function bucketOf(tokens: number): number {
  return Math.min(buckets - 1, 31 - Math.clz32(Math.max(1, tokens)))
}
