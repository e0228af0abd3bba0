/** Submits requests whose guide is not compiled yet. */
import { asForetokenError } from '../base/errors.ts'
import type { Scheduler } from '../decode/scheduler.ts'
import type { AnswerState } from './answer-state.ts'
import { abortReason } from './event-reader.ts'
import type { Drive } from './submission.ts'

/**
 * Adds a request to the scheduler and returns what drives it. A request that waits for its guide has
 * no place in the queue until then, and its failures, those of the scheduler included, end its state.
 * Otherwise throws as `Scheduler.add`.
 */
export function admit(state: AnswerState, scheduler: Scheduler): Drive {
  const { ready, signal } = state
  if (state.ended) return scheduler
  if (!ready) {
    scheduler.add(state)
    return scheduler
  }
  const left = new Promise<never>((_, reject) => {
    const leave = () => reject(abortReason(signal))
    if (signal.aborted) leave()
    else signal.addEventListener('abort', leave, { once: true })
  })
  const added = Promise.race([ready, left])
    .then(() => scheduler.add(state))
    .catch((error) => state.end(asForetokenError(error)))
  return {
    async drive(served) {
      await added
      await scheduler.drive(served)
    },
  }
}
