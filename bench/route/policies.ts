/** Policies that choose the way: a fixed one, a rule, or the router. */
import { type Companion, Router, StaticCompanions, type Way } from '../../src/index.ts'
import type { Ask, Drawn } from './world.ts'
import { bytesPerToken } from './world.ts'

export interface Policy {
  readonly name: string
  /**
   * Chooses the way of a request; `ways` are allowed beside `local`. `report` is called with the
   * outcome.
   */
  choose(ask: Ask, ways: readonly Way[]): { readonly way: Way; report(drawn: Drawn): void }
  /** Called every few seconds with the companion's status. */
  status?(drawn: Drawn): void
}

export function fixed(way: Way): Policy {
  return { name: way, choose: (_, ways) => ({ way: ways.includes(way) ? way : 'local', report: () => {} }) }
}

/** exo's rule: a prompt of 1,000 or more tokens that are not cached is read elsewhere. */
export function exo(): Policy {
  return {
    name: 'exo',
    choose: ({ tokens }, ways) => ({
      way: tokens >= 1000 && ways.includes('remote') ? 'remote' : 'local',
      report: () => {},
    }),
  }
}

/** The router itself, on the given clock. */
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
            // The same report as that of `src/route/service.ts`.
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

/** Returns true if the first token comes from this machine's own reading. */
function isHere(way: Way, ttft: Drawn['ttft']): boolean {
  return way === 'local' || (way === 'race' && ttft.local < ttft.remote)
}
