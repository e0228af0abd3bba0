/**
 * Runs all policies over a grid of regimes and prompt lengths, on the same draws, and reports the
 * times of each and the router's regret.
 */

import { at, defined } from '../../src/base/at.ts'
import { createRandom } from '../../src/decode/random.ts'
import type { Way } from '../../src/index.ts'
import { mean, round } from '../stats.ts'
import { exo, fixed, type Policy, routing } from './policies.ts'
import { type Ask, type Drawn, draw, type Regime } from './world.ts'

export interface GridOptions {
  readonly rtt_ms: readonly number[]
  readonly mbit_s: readonly number[]
  readonly loss: readonly number[]
  readonly local_ms_per_token: readonly number[]
  readonly companion_ms_per_token: readonly number[]
  readonly lengths: readonly number[]
  /** Number of requests of each length in a regime, in mixed order. */
  readonly requests: number
  readonly seed: number
}

/** The ways that requests may take beside `local`, and the prefill that they ask for. */
export interface Kind {
  readonly name: string
  readonly predicted: boolean
  readonly ways: readonly Way[]
}

export const kinds: readonly Kind[] = [
  { name: 'exact', predicted: false, ways: ['remote', 'relay'] },
  // The companion's decode slots are full, or the session lives at the edge.
  { name: 'exact, no relay', predicted: false, ways: ['remote'] },
  { name: 'refined', predicted: true, ways: ['remote', 'relay', 'race'] },
]

export interface Cell extends Regime {
  readonly kind: string
  readonly tokens: number
  /** Mean TTFT of each policy, milliseconds. */
  readonly ttft: Readonly<Record<string, number>>
  /** The fixed way with the least mean TTFT here, in hindsight. */
  readonly best: string
  /** The router's regret from its first request on, and in the second half of its requests. */
  readonly regret: number
  readonly settled: number
  /** The way that the router took most often in the second half. */
  readonly way: Way
}

/** Milliseconds between two requests, and between two status requests to the companion. */
const gapMs = 400
const statusMs = 5000

export const standard: GridOptions = {
  rtt_ms: [5, 40, 150],
  mbit_s: [20, 100, 500],
  loss: [0, 0.01],
  local_ms_per_token: [1, 4, 12],
  companion_ms_per_token: [0.15, 1, 6],
  lengths: [32, 64, 128, 256, 512, 1024],
  requests: 40,
  seed: 1,
}

export function regimesOf(options: GridOptions): Regime[] {
  const regimes: Regime[] = []
  for (const loss of options.loss)
    for (const rtt_ms of options.rtt_ms)
      for (const mbit_s of options.mbit_s)
        for (const local_ms_per_token of options.local_ms_per_token)
          for (const companion_ms_per_token of options.companion_ms_per_token)
            regimes.push({ rtt_ms, mbit_s, loss, local_ms_per_token, companion_ms_per_token })
  return regimes
}

export function grid(options: GridOptions): Cell[] {
  return regimesOf(options).flatMap((regime, index) =>
    kinds.flatMap((kind) => cellsOf(regime, kind, options, options.seed * 1_000_003 + index)),
  )
}

interface Seen {
  readonly tokens: number
  readonly drawn: Drawn
  readonly ttft: Record<string, number>
  readonly way: Way
}

function cellsOf(regime: Regime, kind: Kind, options: GridOptions, seed: number): Cell[] {
  const seen = replay(() => regime, mixed(options, seed), kind, seed)
  return options.lengths.map((tokens): Cell => {
    const requests = seen.filter((one) => one.tokens === tokens)
    const half = requests.slice(requests.length >> 1)
    const names = Object.keys(at(requests, 0).ttft)
    const meanOf = (name: string) => round(mean(requests.map((one) => defined(one.ttft[name]))), 4)
    const ttft = Object.fromEntries(names.map((name) => [name, meanOf(name)]))
    const best = bestOf(requests, kind)
    return {
      ...regime,
      kind: kind.name,
      tokens,
      ttft,
      best,
      regret: round(regretOf(requests, best), 4),
      settled: round(regretOf(half, bestOf(half, kind)), 4),
      way: commonest(half.map(({ way }) => way)),
    }
  })
}

/** Returns each length `requests` times, in an order drawn by the seed. */
function mixed({ lengths, requests }: GridOptions, seed: number): number[] {
  const random = createRandom(seed)
  const all = lengths.flatMap((tokens) => Array.from({ length: requests }, () => ({ tokens, at: random() })))
  return all.sort((a, b) => a.at - b.at).map(({ tokens }) => tokens)
}

/**
 * Runs requests one after the other, each by all policies on one draw. `regime` may change on the
 * way.
 */
export function replay(regime: (at: number) => Regime, lengths: readonly number[], kind: Kind, seed: number): Seen[] {
  const random = createRandom(seed + 1)
  let now = 0
  let asked = Number.NEGATIVE_INFINITY
  const router = routing(() => now)
  const policies: Policy[] = [...fixedOf(kind), exo(), router]
  return lengths.map((tokens, at) => {
    const ask: Ask = { tokens, predicted: kind.predicted }
    const drawn = draw(regime(at), ask, random)
    if (now - asked > statusMs) {
      router.status?.(drawn)
      asked = now
    }
    const ttft: Record<string, number> = {}
    let way: Way = 'local'
    for (const policy of policies) {
      const choice = policy.choose(ask, kind.ways)
      ttft[policy.name] = drawn.ttft[choice.way]
      if (policy === router) {
        way = choice.way
        now += drawn.ttft[way]
      }
      choice.report(drawn)
    }
    now += gapMs
    return { tokens, drawn, ttft, way }
  })
}

function fixedOf({ ways }: Kind): Policy[] {
  return [fixed('local'), ...ways.map(fixed)]
}

/**
 * Returns the fixed way with the least mean TTFT. A race is not one of them: only the router may
 * race.
 */
function bestOf(seen: readonly Seen[], { ways }: Kind): string {
  const names = ['local', ...ways.filter((way) => way !== 'race')]
  const cost = (name: string) => mean(seen.map(({ ttft }) => defined(ttft[name])))
  return names.reduce((best, name) => (cost(name) < cost(best) ? name : best))
}

function regretOf(seen: readonly Seen[], best: string): number {
  return mean(seen.map(({ ttft }) => defined(ttft.router))) / mean(seen.map(({ ttft }) => defined(ttft[best])))
}

function commonest(ways: readonly Way[]): Way {
  const count = (way: Way) => ways.filter((one) => one === way).length
  return [...new Set(ways)].reduce((most, way) => (count(way) > count(most) ? way : most))
}
