import { ForetokenError } from '../base/errors.ts'
import { Gate } from '../base/gate.ts'
import { Shares } from '../base/shares.ts'

export interface TokenizerGateLimits {
  /** Prompts that may wait, in all and of one tenant; one more is refused as `busy`. */
  readonly maxWaiting: number
  readonly maxWaitingPerTenant: number
}

/** Creates the gate of the tokenizer: one long prompt is read at a time, tenants in turn. */
export function createTokenizerGate(limits: TokenizerGateLimits): Gate {
  return new Gate({
    ...limits,
    stocks: [new Shares(1)],
    busy: ({ waiting, waitingOfTenant }) =>
      new ForetokenError(
        'busy',
        `${waitingOfTenant} long prompts of this caller and ${waiting} in all wait to be tokenized; try again later`,
      ),
  })
}
