/** Measures how long the router takes to notice a change, in requests and in TTFT. */
import { defined } from '../../src/base/at.ts'
import { mean, round } from '../stats.ts'
import { kinds, replay } from './grid.ts'
import type { Regime } from './world.ts'

const before: Regime = {
  rtt_ms: 40,
  mbit_s: 100,
  loss: 0,
  local_ms_per_token: 4,
  companion_ms_per_token: 0.15,
}
const changes: readonly { readonly name: string; readonly from: Partial<Regime>; readonly to: Partial<Regime> }[] = [
  { name: 'the companion slows down 40 times', from: {}, to: { companion_ms_per_token: 6 } },
  { name: 'the companion gets 40 times faster', from: { companion_ms_per_token: 6 }, to: {} },
  { name: 'the network gets slow', from: {}, to: { mbit_s: 20, rtt_ms: 150 } },
  { name: 'the network gets fast', from: { mbit_s: 20, rtt_ms: 150 }, to: { mbit_s: 500, rtt_ms: 5 } },
  {
    name: 'this machine slows down',
    from: { local_ms_per_token: 1, companion_ms_per_token: 1 },
    to: { local_ms_per_token: 12, companion_ms_per_token: 1 },
  },
]
const half = 120

/**
 * Returns the router's TTFT divided by the best way's of each request, before the change, in the 20
 * requests after it, and later.
 */
export function drift(seed: number) {
  const lengths = Array.from({ length: 2 * half }, (_, at) => defined([64, 256, 1024, 128, 512][at % 5]))
  return changes.flatMap(({ name, from, to }) =>
    kinds.map((kind) => {
      const seen = replay((at) => ({ ...before, ...(at < half ? from : to) }), lengths, kind, seed)
      const regret = (begin: number, end: number) => {
        const requests = seen.slice(begin, end)
        const least = requests.map(({ drawn }) =>
          Math.min(drawn.ttft.local, ...kind.ways.map((way) => drawn.ttft[way])),
        )
        return round(mean(requests.map(({ ttft }) => defined(ttft.router))) / mean(least), 3)
      }
      return {
        change: name,
        kind: kind.name,
        before: regret(half / 2, half),
        behind: regret(half, half + 20),
        later: regret(half + 20, 2 * half),
      }
    }),
  )
}
