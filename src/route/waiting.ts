/** Computes how long an answer waits for a companion, in milliseconds. */

import type { RemoteKv } from '../transfer/remote.ts'
import type { WaitBudget } from '../transfer/wait-budget.ts'

/**
 * Returns how long to wait for a companion before the prompt is read here: three times the
 * predicted time and a second, at most 60 s.
 */
export function patienceMs(predicted: number): number {
  return Math.min(60_000, Math.ceil(3 * predicted) + 1000)
}

/**
 * Returns how much of that time each token of a relayed answer gives back. A step reads all weights
 * once, as reading the prompt does, so that three times the prompt's time is ample. It is at least
 * 150 ms, so that a busy machine is not abandoned, and at most a second, which is the slowest
 * useful pace.
 */
export function tokenMs(predicted: number): number {
  return Math.min(1000, Math.max(150, 3 * predicted))
}

/** Returns the body; the budget's clock runs while the reader waits for it. */
export function waitingWith(budget: WaitBudget, { body }: RemoteKv): AsyncIterable<Uint8Array> {
  const chunks = body[Symbol.asyncIterator]()
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => budget.wait(chunks.next()),
      return: async () => (await chunks.return?.()) ?? { done: true, value: undefined },
    }),
  }
}
