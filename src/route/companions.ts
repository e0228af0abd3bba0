/**
 * Keeps the companions of an edge, with the measured costs and the state of each. A fleet can
 * implement `Companions` over a registry.
 */
import { listOf, textOf, withArguments } from '../base/checks.ts'
import { type Checks, checkedFields, listWith, needed, withMethods } from '../base/fields.ts'
import type { RemoteCompanion } from '../transfer/remote.ts'
import { Breaker } from './breaker.ts'
import { RemoteCosts, type RemotePromptCost } from './costs.ts'
import type { Estimate } from './estimate.ts'

/** How a request at a companion ended. `left`: it was no longer needed. */
export type Ending = 'succeeded' | 'failed' | 'left'

export interface Companion<C> {
  readonly name: string
  readonly client: C
  readonly costs: RemoteCosts
  readonly breaker: Breaker
}

export interface Companions<C> {
  readonly list: readonly Companion<C>[]
  /**
   * Returns the companion that is expected to read a prompt first; undefined if none may be asked
   * now.
   */
  pick(prompt: RemotePromptCost, now: number): Companion<C> | undefined
  /** Reports how a request ended. `now` is in milliseconds. */
  report(companion: Companion<C>, ending: Ending, now: number): void
}

/**
 * Returns `value` if it has the members of `Companions`. What its methods return is not checked.
 */
export function companionsOf(name: string, value: unknown): Companions<RemoteCompanion> {
  const companions = withMethods<Companions<RemoteCompanion>>('pick', 'report')(name, value)
  listOf(`${name}.list`, companions.list)
  return companions
}

export class StaticCompanions<C> implements Companions<C> {
  readonly list: readonly Companion<C>[]

  constructor(clients: readonly { readonly name: string; readonly client: C }[]) {
    const checks: Checks<(typeof clients)[number]> = { name: needed(textOf), client: needed((_, value) => value as C) }
    const named = withArguments('StaticCompanions', () =>
      listWith((name, value) => checkedFields(name, value, checks))('clients', clients),
    )
    this.list = named.map((one) => ({ ...one, costs: new RemoteCosts(), breaker: new Breaker() }))
  }

  pick(prompt: RemotePromptCost, now: number): Companion<C> | undefined {
    let best: { readonly companion: Companion<C>; readonly ms: number } | undefined
    for (const companion of this.list) {
      if (companion.breaker.state(now) === 'open') continue
      const ms = optimistic(companion.costs.estimate('relay', prompt, now))
      if (!best || ms < best.ms) best = { companion, ms }
    }
    return best?.companion
  }

  report({ breaker }: Companion<C>, ending: Ending, now: number): void {
    if (ending === 'succeeded') breaker.succeeded()
    else if (ending === 'failed') breaker.failed(now)
    else breaker.left()
  }
}

/**
 * Returns the lower confidence bound, the mean minus half the standard error: so ways with few
 * measurements are tried where they may be faster.
 */
export function optimistic({ mean, doubt }: Estimate): number {
  return mean - 0.5 * doubt
}
