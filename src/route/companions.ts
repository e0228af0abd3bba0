/**
 * The companions of an edge, and what is known of each. A static list; whoever has a fleet implements `Companions` over a registry.
 */
import { Breaker } from './breaker.ts'
import { RemoteCosts, type RemotePromptCost } from './costs.ts'
import type { Estimate } from './measure.ts'

/** How a request at a companion ended; `left`: nobody wanted it any more. */
export type Ending = 'succeeded' | 'failed' | 'left'

export interface Companion<C> {
  readonly name: string
  readonly client: C
  readonly costs: RemoteCosts
  readonly breaker: Breaker
}

export interface Companions<C> {
  readonly list: readonly Companion<C>[]
  /** The one that should be the first to have a prompt read; undefined where none may be asked now. */
  pick(prompt: RemotePromptCost, now: number): Companion<C> | undefined
  report(companion: Companion<C>, ending: Ending, now: number): void
}

export class StaticCompanions<C> implements Companions<C> {
  readonly list: readonly Companion<C>[]

  constructor(clients: readonly { readonly name: string; readonly client: C }[]) {
    this.list = clients.map(({ name, client }) => ({
      name,
      client,
      costs: new RemoteCosts(),
      breaker: new Breaker(),
    }))
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

/** What is little known is given the benefit of half its doubt, so that it gets known where it could be worth it. */
export function optimistic({ mean, doubt }: Estimate): number {
  return mean - 0.5 * doubt
}
