/** Who chooses the way: always one, a rule, or the router. */
import { type Companion, Router, StaticCompanions, type Way } from '../../src/index.ts'
import type { Ask, Drawn } from './world.ts'
import { bytesPerToken } from './world.ts'

export interface Policy {
  readonly name: string
  /** Takes a request on; `ways` may be taken beside `local`. Called with what came of it. */
  choose(ask: Ask, ways: readonly Way[]): { readonly way: Way; report(drawn: Drawn): void }
  /** What the companion says of itself, every few seconds. */
  status?(drawn: Drawn): void
}

export function fixed(way: Way): Policy {
  return { name: way, choose: (_, ways) => ({ way: ways.includes(way) ? way : 'local', report: () => {} }) }
}

/** A prompt of 1,000 tokens or more that are not cached is read elsewhere: exo's rule. */
export function exo(): Policy {
  return {
    name: 'exo',
    choose: ({ tokens }, ways) => ({
      way: tokens >= 1000 && ways.includes('remote') ? 'remote' : 'local',
      report: () => {},
    }),
  }
}

/** The router as it is, on a clock that is given. */
export function routing(now: () => number): Policy {
  const companions = new StaticCompanions([{ name: 'companion', client: undefined }])
  const router = new Router(companions, { now })
  const [companion] = companions.list as [Companion<undefined>]
  return {
    name: 'router',
    choose({ tokens, predicted }, ways) {
      const decision = router.decide({ tokens, predicted, bytesPerToken, ways, localQueueMs: 0 })
      const { way } = decision
      return {
        way,
        report: ({ ttft, bytes, transferMs, localMs }) =>
          router.report(decision, {
            ttftMs: ttft[way],
            // As `src/route/service.ts` tells it.
            ...(isHere(way, ttft) && { local: { tokens, ms: localMs } }),
            ...(way !== 'local' && { ending: isHere(way, ttft) ? 'left' : 'succeeded' }),
            ...(way === 'remote' && { transfer: { bytes, ms: transferMs } }),
          }),
      }
    },
    status: ({ roundTripMs, companionMsPerToken }) =>
      companion.costs.learnStatus({ rttMs: roundTripMs, msPerToken: companionMsPerToken, prompts: 0 }, now()),
  }
}

/** Whether the first token comes from this machine's own reading. */
function isHere(way: Way, ttft: Drawn['ttft']): boolean {
  return way === 'local' || (way === 'race' && ttft.local < ttft.remote)
}
