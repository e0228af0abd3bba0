import { ApiError } from '../edge/errors.ts'
import { Gate, Shares } from '../src/index.ts'

export interface EdgeGateLimits {
  /** Requests that run at once. */
  readonly running: number
  /** Requests of an edge that may wait; one more is refused. */
  readonly waitingPerEdge: number
}

/**
 * Creates the gate of a companion, whose tenants are edges. Where several edges may come, one may
 * hold half of the turns; a single edge may hold them all. It refuses with an ApiError of 503, and
 * rejects with the reason of a signal.
 */
export function createEdgeGate({ running, waitingPerEdge }: EdgeGateLimits, several = false): Gate {
  return new Gate({
    stocks: [new Shares(running, several ? 'past-half' : 'all')],
    maxWaitingPerTenant: waitingPerEdge,
    busy: (refusal) =>
      new ApiError(
        503,
        `${refusal.running} requests run, and ${refusal.waitingOfTenant} of this edge wait; try again`,
        {
          code: 'busy',
          retryAfter: 1,
        },
      ),
    cancelled: (reason) => reason,
  })
}
