/**
 * Decides which way a request takes: the one with the least expected time to the first token, among
 * those that it allows.
 */

import { withArguments } from '../base/checks.ts'
import { type Checks, callable, checkedFields, nameOf, numberFrom } from '../base/fields.ts'
import { allWays, type Way } from '../engine/service.ts'
import { type Companion, type Companions, companionsOf, type Ending, optimistic } from './companions.ts'
import type { RemotePromptCost } from './costs.ts'
import type { Estimate } from './estimate.ts'
import { LocalCosts } from './local-costs.ts'

export interface RouteRequest {
  /** Number of prompt tokens that are not in the prefix cache. */
  readonly tokens: number
  /** True if the first token may come from predicted K and V. */
  readonly predicted: boolean
  /** Size of a token's K and V on the wire, in bytes. */
  readonly bytesPerToken: number
  /** Ways that may be taken in addition to `local`. */
  readonly ways: readonly Way[]
  /** Estimated time until the local engine begins, in milliseconds. */
  readonly localQueueMs: number
}

export interface Decision<C> {
  readonly way: Way
  /** The companion to ask; undefined for `local`. */
  readonly companion: Companion<C> | undefined
  readonly predictedMs: number
  /** Expected time of each way that was possible, in milliseconds. */
  readonly considered: Readonly<Partial<Record<Way, number>>>
  readonly request: RouteRequest
}

/** The outcome of a decision. */
export interface Outcome {
  /** Time to the first token, in milliseconds; 0 if there was none. */
  readonly ttftMs: number
  /** The part of the prompt that was read here: number of tokens, and milliseconds. */
  readonly local?: { readonly tokens: number; readonly ms: number } | undefined
  /** How the companion's part ended; undefined if none was asked. */
  readonly ending?: Ending | undefined
  /** Number of bytes that came from it, and milliseconds from the first to the last of them. */
  readonly transfer?: { readonly bytes: number; readonly ms: number } | undefined
}

export interface RouterOptions {
  /** Assumed milliseconds per token until prompts have been read here. Default 4. */
  readonly localMsPerToken?: number
  /** Returns the time, in milliseconds. Default `performance.now`. */
  readonly now?: () => number
  /** The way of all requests that may take it. Default: the fastest by measured costs. */
  readonly always?: Way | undefined
}

/** The checks of `RouterOptions`. */
export const routerChecks: Checks<RouterOptions> = {
  localMsPerToken: numberFrom(0),
  now: callable(),
  always: nameOf(allWays),
}

/**
 * A race must take at most this share of the time of the best other way, since its sides disturb
 * each other and use the companion.
 */
const raceGain = 0.9

export class Router<C> {
  readonly companions: Companions<C>
  readonly #now: () => number
  readonly #exact: LocalCosts
  readonly #predicted: LocalCosts
  readonly #always: Way | undefined

  /** Throws `bad_argument`. */
  constructor(companions: Companions<C>, options: RouterOptions = {}) {
    const {
      localMsPerToken = 4,
      now = () => performance.now(),
      always,
    } = withArguments('Router', () => {
      companionsOf('companions', companions)
      return checkedFields('the options', options, routerChecks, 'be absent')
    })
    this.companions = companions
    this.#now = now
    this.#always = always
    this.#exact = new LocalCosts(localMsPerToken)
    this.#predicted = new LocalCosts(localMsPerToken / 2)
  }

  /** Decides the way of a request. The caller must report the outcome. */
  decide(request: RouteRequest): Decision<C> {
    const now = this.#now()
    const local = this.#local(request, now)
    const estimates = new Map<Way, Estimate>([['local', local]])
    const companion = this.companions.pick(this.#prompt(request, now), now)
    if (companion) {
      const prompt = this.#prompt(request, now)
      for (const way of ['remote', 'relay'] as const)
        if (request.ways.includes(way) && (way === 'relay' || companion.costs.sendsKv))
          estimates.set(way, companion.costs.estimate(way, prompt, now))
      const remote = estimates.get('remote')
      if (remote && request.ways.includes('race'))
        estimates.set('race', companion.costs.race(local, remote, request.tokens, now))
    }
    const best = this.#best(local, estimates)
    const way = best === 'local' || companion?.breaker.enter(now) ? best : 'local'
    return {
      way,
      companion: way === 'local' ? undefined : companion,
      predictedMs: (estimates.get(way) ?? local).mean,
      considered: Object.fromEntries([...estimates].map(([name, { mean }]) => [name, mean])),
      request,
    }
  }

  /** Learns from the outcome of a decision. */
  report({ way, companion, request, predictedMs }: Decision<C>, { ttftMs, local, ending, transfer }: Outcome): void {
    const now = this.#now()
    if (local) this.#costs(request).learn(local.tokens, local.ms, now)
    if (!companion || !ending) return
    this.companions.report(companion, ending, now)
    const { costs } = companion
    // A race counts even if it was won here.
    if (way === 'race' && ttftMs > 0) costs.learnRace(predictedMs, request.tokens, ttftMs, now)
    if (ending !== 'succeeded') return
    // A transfer that waited for computing gives a lower bound of the bandwidth only.
    if (transfer && transfer.ms > 1) {
      const rate = transfer.bytes / transfer.ms
      const computing = request.tokens * costs.perToken.estimate(now).mean
      if (rate > costs.bandwidth.estimate(now).mean || transfer.ms > 1.2 * computing) costs.bandwidth.learn(rate, now)
    }
    if (way === 'relay' || way === 'remote') costs.learn(way, this.#prompt(request, now), ttftMs, now)
  }

  #best(local: Estimate, estimates: ReadonlyMap<Way, Estimate>): Way {
    if (this.#always && estimates.has(this.#always)) return this.#always
    let best: Way = 'local'
    let least = optimistic(local)
    for (const [way, estimate] of estimates) {
      // The uncertainty of a race is that of its sides, which is already included.
      const ms = way === 'race' ? estimate.mean / raceGain : optimistic(estimate)
      if (ms < least) [best, least] = [way, ms]
    }
    return best
  }

  #local({ tokens, predicted, localQueueMs }: RouteRequest, now: number): Estimate {
    const { mean, deviation, doubt } = this.#reading(predicted, tokens, now)
    return { mean: mean + localQueueMs, deviation, doubt }
  }

  /**
   * Predicts the time of reading a prompt here. A kind of prefill without values uses the estimate
   * of the other.
   */
  #reading(predicted: boolean, tokens: number, now: number): Estimate {
    const [asked, other] = predicted ? [this.#predicted, this.#exact] : [this.#exact, this.#predicted]
    if (asked.seen || !other.seen) return asked.estimate(tokens, now)
    const { mean, deviation } = other.estimate(tokens, now)
    const factor = predicted ? 0.6 : 1.7
    return { mean: factor * mean, deviation: factor * deviation, doubt: 0.5 * factor * mean }
  }

  #costs({ predicted }: RouteRequest): LocalCosts {
    return predicted ? this.#predicted : this.#exact
  }

  #prompt({ tokens, bytesPerToken }: RouteRequest, now: number): RemotePromptCost {
    return { tokens, bytesPerToken, localMsPerToken: this.#reading(false, 64, now).mean / 64 }
  }
}
