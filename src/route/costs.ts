/**
 * Predicts the time to the first token for each way, in milliseconds, from measured costs.
 *
 *     local      queue + fixed + tokens x local ms/token (by prompt length; exact and predicted apart)
 *     remote KV  RTT + queue + max(tokens x remote ms/token, bytes / bandwidth) + the last tile's transfer + the last page here
 *     relay      RTT + queue + tokens x remote ms/token
 *
 * K and V are sent while later ones are computed, so the slower of computing and sending counts. A
 * factor for each way, learned from observed times, covers everything that the formulas leave out
 * (a queue that grew, a machine that does two things at once).
 */
import type { Way } from '../engine/service.ts'
import { ByLength } from './by-length.ts'
import { type Estimate, earlier } from './estimate.ts'
import { Least } from './least.ts'
import { Measure } from './measure.ts'

/** The ways that involve a companion. */
type AwayWay = Exclude<Way, 'local'>

/** Number of tokens in a tile, which a stream of K and V sends at a time. */
export const tileTokens = 64
/** The longest prompt that may be sent to a companion only to measure the bandwidth, in tokens. */
const tryTokens = 128
/** The bandwidth is measured again after this time, in milliseconds. */
const tryAgainMs = 60_000
/** The assumed bandwidth before the first measurement, in bytes per millisecond. */
const fastest = 125_000
/** Maximum number of tokens after the last whole page, which are always run here. */
const tailTokens = 16

/** A companion's status, and the measured time of asking for it. */
export interface RemoteStatus {
  readonly rttMs: number
  /**
   * True if this core computed meanwhile and may have read the answer late: `rttMs` is an upper
   * bound then.
   */
  readonly late?: boolean
  /** Its recent speed of reading prompts; undefined if it has read none. */
  readonly msPerToken: number | undefined
  /** Number of prompts that a new one would wait for. */
  readonly prompts: number
  /** True if it sends K and V. Default true. */
  readonly sendsKv?: boolean
}

/** Assumed length of a prompt that waits at a companion, in tokens. */
const queuedTokens = 64

/** The measured costs of one companion. */
export class RemoteCosts {
  /**
   * Round trip time, in milliseconds. A core that is busy with a pass reads an answer late, so that
   * most values are too long.
   */
  readonly rtt = new Least(50, 6)
  /** Milliseconds per token of a prompt. */
  readonly perToken = new Measure(1, 1)
  /** Bytes per millisecond. */
  readonly bandwidth = new Measure(6250, 1)
  /** Milliseconds until it begins with a new prompt. */
  readonly queue = new Measure(5, 2)
  /** False once it has reported that it sends no K and V. */
  sendsKv = true
  /** Observed time divided by predicted time, for each way. */
  readonly #factors: Readonly<Record<AwayWay, ByLength>> = {
    remote: new ByLength(1, 0.5, true),
    relay: new ByLength(1, 0.5, true),
    race: new ByLength(1, 0.5),
  }

  /** Predicts the time to the first token, in milliseconds. */
  estimate(way: 'remote' | 'relay', prompt: RemotePromptCost, now: number): Estimate {
    const mean = this.#formula(way, prompt, now, this.bandwidth.estimate(now).mean)
    // Only a transfer of K and V measures the bandwidth. If there has been none for a long time, a
    // cheap prompt is worth a try.
    const untried = way === 'remote' && prompt.tokens <= tryTokens && this.bandwidth.age(now) > tryAgainMs
    const doubt = untried ? 2 * (mean - this.#formula(way, prompt, now, fastest)) : 0
    return this.#corrected(way, prompt.tokens, { mean, deviation: 0, doubt }, now)
  }

  /**
   * Predicts the time of `local` and `remote` run at once. They disturb each other, most of all on
   * one machine; the factor learns that cost.
   */
  race(local: Estimate, remote: Estimate, tokens: number, now: number): Estimate {
    const { doubt, ...raw } = earlier(local, remote)
    // Earlier races measured both sides together: the errors of each side alone no longer count.
    return this.#corrected('race', tokens, { ...raw, doubt: this.#factors.race.seen ? 0 : doubt }, now)
  }

  /** Records that a race took `ms`. `expected` is the mean that `race` returned. */
  learnRace(expected: number, tokens: number, ms: number, now: number): void {
    const { mean: factor } = this.#factors.race.estimate(tokens, now)
    this.#factors.race.learn(tokens, (ms / Math.max(expected, 0.1)) * factor, now)
  }

  learnStatus({ rttMs, late = false, msPerToken, prompts, sendsKv = true }: RemoteStatus, now: number): void {
    this.sendsKv = sendsKv
    if (!late || rttMs < this.rtt.value) this.rtt.learn(rttMs)
    if (msPerToken !== undefined) this.perToken.learn(msPerToken, now)
    this.queue.learn(prompts * queuedTokens * this.perToken.estimate(now).mean, now)
  }

  /** Records that a prompt took `ms` to the first token this way. */
  learn(way: 'remote' | 'relay', prompt: RemotePromptCost, ms: number, now: number): void {
    // Before the speed was ever measured, the rest of the time measures it. A factor learned from a
    // guess would have to be unlearned once a measurement comes, and until then both would correct
    // the same error.
    if (this.perToken.count === 0) {
      // Reading takes only a small part of the time of a short prompt.
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

  /** Multiplies `raw` by the factor learned for this way and length. */
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
  /** Number of tokens that are not in the prefix cache here. */
  readonly tokens: number
  /** Size of a token's K and V on the wire, in bytes. */
  readonly bytesPerToken: number
  readonly localMsPerToken: number
}
