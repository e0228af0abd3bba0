/** How long an answer waits for a companion. */
import type { WaitBudget } from '../transfer/patience.ts'
import type { RemoteKv } from '../transfer/remote.ts'

/** How long a companion may be waited for before the prompt is read here: three times what it should take, and a second. */
export function patienceMs(predicted: number): number {
  return Math.min(60_000, Math.ceil(3 * predicted) + 1000)
}

/**
 * What each token of a relayed answer gives back of that, milliseconds. A step reads all weights once, as reading the prompt does, so that three times
 * the prompt's time is ample; nobody waits for less than a token a second, and a busy machine is not given up for 150 ms.
 */
export function tokenMs(predicted: number): number {
  return Math.min(1000, Math.max(150, 3 * predicted))
}

/** The body, with the clock running while it is waited for. */
export function waitingWith(budget: WaitBudget, { body }: RemoteKv): AsyncIterable<Uint8Array> {
  const pieces = body[Symbol.asyncIterator]()
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => budget.wait(pieces.next()),
      return: async () => (await pieces.return?.()) ?? { done: true, value: undefined },
    }),
  }
}
