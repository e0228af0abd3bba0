/** Submits requests whose guide is not compiled yet. */
import { asForetokenError } from '../base/errors.ts'
import { untilAborted } from '../base/until-aborted.ts'
import type { Scheduler } from '../decode/scheduler.ts'
import type { AnswerState } from './answer-state.ts'
import type { Drive } from './submission.ts'

/**
 * Adds a request to the scheduler and returns what drives it. A request that waits for its guide has
 * no place in the queue until then, and its failures, those of the scheduler included, end its state;
 * so does `closing`, the end of the engine.
 * Otherwise throws as `Scheduler.add`.
 */
export function admit(state: AnswerState, scheduler: Scheduler, closing: AbortSignal): Drive {
  const { ready, signal } = state
  if (state.ended) return scheduler
  if (!ready) {
    try {
      scheduler.add(state)
    } catch (error) {
      // A state that was refused holds nothing.
      state.end(asForetokenError(error))
      throw error
    }
    return scheduler
  }
  const added = untilAborted(ready, signal, closing)
    .then(() => scheduler.add(state))
    .catch((error) => state.end(asForetokenError(error)))
  return {
    async drive(served) {
      await added
      await scheduler.drive(served)
    },
  }
}
