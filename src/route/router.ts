/** Which way a request takes to its first token: the one that should take the least time, by measured costs, among those it allows. */

import type { Way } from '../engine/service.ts'
import { type Companion, type Companions, type Ending, optimistic } from './companions.ts'
import { LocalCosts, type RemotePromptCost } from './costs.ts'
import type { Estimate } from './measure.ts'

export interface RouteRequest {
  /** Tokens that are not in the prefix cache. */
  readonly tokens: number
  /** Whether the first token may come from predicted K and V. */
  readonly predicted: boolean
  /** Bytes of K and V of a token on the wire. */
  readonly bytesPerToken: number
  /** Ways that may be taken; `local` always may. */
  readonly ways: readonly Way[]
  /** Milliseconds until the local engine turns to it, as far as it is known. */
  readonly localQueueMs: number
}

export interface Decision<C> {
  readonly way: Way
  /** Undefined for `local`. */
  readonly companion: Companion<C> | undefined
  readonly predictedMs: number
  /** What each way should take, milliseconds. */
  readonly considered: Readonly<Partial<Record<Way, number>>>
  readonly request: RouteRequest
}

/** What came of it. */
export interface Outcome {
  /** To the first token. */
  readonly ttftMs: number
  /** Of the part that was done here: reading the prompt, and how many tokens of it. */
  readonly local?: { readonly tokens: number; readonly ms: number } | undefined
  /** Of the companion; undefined where none was asked. */
  readonly ending?: Ending | undefined
  /** Bytes that came from it, and milliseconds from the first to the last of them. */
  readonly transfer?: { readonly bytes: number; readonly ms: number } | undefined
}

export interface RouterOptions {
  /** A first guess, until prompts were read here. Default 4. */
  readonly localMsPerToken?: number
  /** Milliseconds. Default `performance.now`. */
  readonly now?: () => number
  /** The way of all requests that may take it. Default: the quickest by measured cost. */
  readonly always?: Way | undefined
}

/** Two at once disturb each other, and cost the companion a prompt: a race must promise so much. */
const raceGain = 0.9

export class Router<C> {
  readonly companions: Companions<C>
  readonly #now: () => number
  readonly #exact: LocalCosts
  readonly #predicted: LocalCosts
  readonly #always: Way | undefined

  constructor(companions: Companions<C>, options: RouterOptions = {}) {
    const { localMsPerToken = 4, now = () => performance.now(), always } = options
    this.companions = companions
    this.#now = now
    this.#always = always
    this.#exact = new LocalCosts(localMsPerToken)
    this.#predicted = new LocalCosts(localMsPerToken / 2)
  }

  /** Decides; whoever takes a way with a companion reports what came of it. */
  decide(request: RouteRequest): Decision<C> {
    const now = this.#now()
    const estimates = new Map<Way, Estimate>([['local', this.#local(request, now)]])
    const companion = this.companions.pick(this.#prompt(request, now), now)
    if (companion) {
      const prompt = this.#prompt(request, now)
      for (const way of ['remote', 'relay'] as const)
        if (request.ways.includes(way) && (way === 'relay' || companion.costs.sendsKv))
          estimates.set(way, companion.costs.estimate(way, prompt, now))
      const remote = estimates.get('remote')
      if (remote && request.ways.includes('race'))
        estimates.set('race', companion.costs.race(estimates.get('local')!, remote, request.tokens, now))
    }
    const way = this.#best(estimates)
    const taken = way === 'local' || companion!.breaker.enter(now) ? way : 'local'
    return {
      way: taken,
      companion: taken === 'local' ? undefined : companion,
      predictedMs: estimates.get(taken)!.mean,
      considered: Object.fromEntries([...estimates].map(([name, { mean }]) => [name, mean])),
      request,
    }
  }

  report({ way, companion, request, predictedMs }: Decision<C>, { ttftMs, local, ending, transfer }: Outcome): void {
    const now = this.#now()
    if (local) this.#costs(request).learn(local.tokens, local.ms, now)
    if (!companion || !ending) return
    this.companions.report(companion, ending, now)
    const { costs } = companion
    // A race that was won here tells as much.
    if (way === 'race' && ttftMs > 0) costs.learnRace(predictedMs, request.tokens, ttftMs, now)
    if (ending !== 'succeeded') return
    // What waits for computing tells that the network is at least so fast.
    if (transfer && transfer.ms > 1) {
      const rate = transfer.bytes / transfer.ms
      const computing = request.tokens * costs.perToken.estimate(now).mean
      if (rate > costs.bandwidth.estimate(now).mean || transfer.ms > 1.2 * computing) costs.bandwidth.learn(rate, now)
    }
    if (way === 'relay' || way === 'remote') costs.learn(way, this.#prompt(request, now), ttftMs, now)
  }

  #best(estimates: ReadonlyMap<Way, Estimate>): Way {
    if (this.#always && estimates.has(this.#always)) return this.#always
    let best: Way = 'local'
    let least = optimistic(estimates.get('local')!)
    for (const [way, estimate] of estimates) {
      // What is doubted of a race is doubted of its sides, too.
      const ms = way === 'race' ? estimate.mean / raceGain : optimistic(estimate)
      if (ms < least) [best, least] = [way, ms]
    }
    return best
  }

  #local({ tokens, predicted, localQueueMs }: RouteRequest, now: number): Estimate {
    const { mean, deviation, doubt } = this.#reading(predicted, tokens, now)
    return { mean: mean + localQueueMs, deviation, doubt }
  }

  /** Where one kind of prefill was never seen the other tells of it. */
  #reading(predicted: boolean, tokens: number, now: number): Estimate {
    const [own, other] = predicted ? [this.#predicted, this.#exact] : [this.#exact, this.#predicted]
    if (own.seen || !other.seen) return own.estimate(tokens, now)
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
