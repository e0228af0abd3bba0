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
import type { Way } from '../engine/service.ts'
import { ByLength, type Estimate, Least, Measure } from './measure.ts'

/** With a companion. */
type AwayWay = Exclude<Way, 'local'>

/** Tokens that a stream of K and V sends at a time. */
export const tileTokens = 64
/** The longest prompt that is sent for to learn how fast it comes. */
const tryTokens = 128
const tryAgainMs = 60_000
/** As fast as a network may be while none was measured: bytes a millisecond. */
const fastest = 125_000
/** Tokens behind the last whole page: they are run here. */
const tailTokens = 16

/** What reading a prompt here costs: tokens that are not in the prefix cache. */
export class LocalCosts {
  readonly #perToken: ByLength

  /** Before anything was measured: milliseconds a token. It is doubted much, for one short prompt that is read here tells. */
  constructor(prior: number) {
    this.#perToken = new ByLength(prior, 1.5)
  }

  /** Whether any prompt was read. */
  get seen(): boolean {
    return this.#perToken.seen
  }

  /** `tokens` were read in `ms`. */
  learn(tokens: number, ms: number, now: number): void {
    if (tokens >= 1 && ms > 0) this.#perToken.learn(tokens, ms / tokens, now)
  }

  estimate(tokens: number, now: number): Estimate {
    const { mean, deviation, doubt } = this.#perToken.estimate(tokens, now)
    return { mean: mean * tokens, deviation: deviation * tokens, doubt: doubt * tokens }
  }
}

/** What a companion says of itself. */
export interface RemoteStatus {
  readonly rttMs: number
  /** This core computed meanwhile, and may have read the answer late: the round trip took so long at most. */
  readonly late?: boolean
  /** Of prompts that it read lately; undefined where it has read none. */
  readonly msPerToken: number | undefined
  /** Prompts before one that would come now. */
  readonly prompts: number
  /** Whether it sends K and V. Default true. */
  readonly sendsKv?: boolean
}

/** A prompt that a companion has before ours, as it is guessed: tokens. */
const queuedTokens = 64

/** What is known of one companion. */
export class RemoteCosts {
  /** Round trip. A core that is busy with a pass reads an answer late, so that most values are too long. */
  readonly rtt = new Least(50, 6)
  readonly perToken = new Measure(1, 1)
  /** Bytes a millisecond. */
  readonly bandwidth = new Measure(6250, 1)
  readonly queue = new Measure(5, 2)
  /** Whether it sends K and V; until it has said so, it does. */
  sendsKv = true
  /** What it took by what the formula says. */
  readonly #factors: Readonly<Record<AwayWay, ByLength>> = {
    remote: new ByLength(1, 0.5, true),
    relay: new ByLength(1, 0.5, true),
    race: new ByLength(1, 0.5),
  }

  estimate(way: 'remote' | 'relay', prompt: RemotePromptCost, now: number): Estimate {
    const mean = this.#formula(way, prompt, now, this.bandwidth.estimate(now).mean)
    // Only K and V that were sent tell how fast they are: where none were for long a prompt that costs little is worth the try.
    const untried = way === 'remote' && prompt.tokens <= tryTokens && this.bandwidth.age(now) > tryAgainMs
    const doubt = untried ? 2 * (mean - this.#formula(way, prompt, now, fastest)) : 0
    return this.#corrected(way, prompt.tokens, { mean, deviation: 0, doubt }, now)
  }

  /** Of `local` and `remote` at once. They may disturb each other, most on one machine: what that costs is learned. */
  race(local: Estimate, remote: Estimate, tokens: number, now: number): Estimate {
    const { doubt, ...raw } = earlier(local, remote)
    // What it took before tells of both its sides: that they are little known each by itself is no doubt any more.
    return this.#corrected('race', tokens, { ...raw, doubt: this.#factors.race.seen ? 0 : doubt }, now)
  }

  /** `expected`: what `race` said, by its mean. */
  learnRace(expected: number, tokens: number, ms: number, now: number): void {
    const told = this.#factors.race.estimate(tokens, now).mean
    this.#factors.race.learn(tokens, (ms / Math.max(expected, 0.1)) * told, now)
  }

  learnStatus({ rttMs, late = false, msPerToken, prompts, sendsKv = true }: RemoteStatus, now: number): void {
    this.sendsKv = sendsKv
    if (!late || rttMs < this.rtt.value) this.rtt.learn(rttMs)
    if (msPerToken !== undefined) this.perToken.learn(msPerToken, now)
    this.queue.learn(prompts * queuedTokens * this.perToken.estimate(now).mean, now)
  }

  /** A prompt took `ms` this way, to the first token. */
  learn(way: 'remote' | 'relay', prompt: RemotePromptCost, ms: number, now: number): void {
    // While its speed was never measured what is left over tells that. A factor learned from a guess would have to be
    // unlearned when a measurement comes, and until then both would correct the same error.
    if (this.perToken.count === 0) {
      // Of a short prompt nearly all is something else.
      if (prompt.tokens < tileTokens) return
      const left = ms - this.#before(now) - (way === 'remote' ? tailTokens * prompt.localMsPerToken : 0)
      this.perToken.learn(Math.max(0.01, left / Math.max(1, prompt.tokens)), now)
      return
    }
    this.#factors[way].learn(
      prompt.tokens,
      ms / this.#formula(way, prompt, now, this.bandwidth.estimate(now).mean),
      now,
    )
  }

  /** `raw` times what was learned of this way and length. */
  #corrected(way: AwayWay, tokens: number, raw: Estimate, now: number): Estimate {
    const factor = this.#factors[way].estimate(tokens, now)
    return {
      mean: raw.mean * factor.mean,
      deviation: Math.hypot(raw.deviation, raw.mean * factor.deviation),
      doubt: Math.max(raw.doubt, raw.mean * factor.doubt),
    }
  }

  #formula(
    way: 'remote' | 'relay',
    { tokens, bytesPerToken, localMsPerToken }: RemotePromptCost,
    now: number,
    bandwidth: number,
  ): number {
    const mean = (measure: Measure) => measure.estimate(now).mean
    const compute = tokens * mean(this.perToken)
    const before = this.#before(now)
    if (way === 'relay') return before + compute
    const perToken = bytesPerToken / bandwidth
    const last = Math.min(tokens, tileTokens) * perToken
    return before + Math.max(compute + last, tokens * perToken) + tailTokens * localMsPerToken
  }

  #before(now: number): number {
    return this.rtt.value + this.queue.estimate(now).mean
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
 * finite set of random variables, 1961). Times are not normal where little is known: it is at least half of the smaller mean.
 */
export function earlier(a: Estimate, b: Estimate): Estimate {
  const spread = Math.hypot(a.deviation + a.doubt, b.deviation + b.doubt)
  const doubt = Math.min(a.doubt, b.doubt)
  if (spread === 0) return { mean: Math.min(a.mean, b.mean), deviation: 0, doubt }
  const apart = (b.mean - a.mean) / spread
  const mean =
    a.mean * below(apart) + b.mean * below(-apart) - spread * Math.exp(-(apart ** 2) / 2) * 0.3989422804014327
  return { mean: Math.max(0.5 * Math.min(a.mean, b.mean), mean), deviation: Math.min(a.deviation, b.deviation), doubt }
}

/** Of a standard normal variable, the share below `x`: the logistic approximation of Bowling et al. (2009), within 0.0002. */
function below(x: number): number {
  return 1 / (1 + Math.exp(-(0.07056 * x ** 3 + 1.5976 * x)))
}
