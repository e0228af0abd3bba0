/** Many requests, a bounded number at once. */
import { asForetokenError, ForetokenError } from './errors.ts'
import type { GenerateRequest } from './options.ts'
import type { DoneEvent } from './stream/events.ts'
import type { Submission } from './submission.ts'

export interface ManyOptions {
  /** Requests in flight. Default 32. */
  readonly concurrency?: number
  readonly signal?: AbortSignal
}

/** One request's end: its `index` in the order given, and either a result or an error. */
export type Outcome = { readonly index: number; readonly id?: string } & (
  | { readonly result: DoneEvent; readonly error?: undefined }
  | { readonly error: ForetokenError; readonly result?: undefined }
)

/**
 * Outcomes as they come, in any order. Requests are pulled when there is room for one more, so that they may be endless.
 * Leaving the loop cancels what is in flight.
 */
export async function* submitMany(
  requests: Iterable<GenerateRequest> | AsyncIterable<GenerateRequest>,
  submit: (request: GenerateRequest) => Submission,
  { concurrency = 32, signal }: ManyOptions,
): AsyncGenerator<Outcome> {
  if (!(concurrency >= 1))
    throw new ForetokenError('bad_argument', `concurrency is ${concurrency}; it must be a number from 1`)
  const source = Symbol.asyncIterator in requests ? requests[Symbol.asyncIterator]() : requests[Symbol.iterator]()
  const flying = new Map<number, { outcome: Promise<Outcome>; cancel: () => void }>()
  let pulled = 0
  let more = true
  // The next request is waited for beside those in flight: a slow source must not hold back their results.
  let next: Promise<IteratorResult<GenerateRequest>> | undefined
  try {
    while (more || flying.size > 0) {
      if (more && flying.size < concurrency) next ??= Promise.resolve(source.next())
      const outcomes = [...flying.values()].map(({ outcome }) => outcome)
      const first = await Promise.race(next ? [next, ...outcomes] : outcomes)
      if ('index' in first) {
        flying.delete(first.index)
        yield first
        continue
      }
      next = undefined
      if (first.done) more = false
      else {
        const index = pulled++
        flying.set(index, start(index, first.value, submit, signal))
      }
    }
  } finally {
    for (const { cancel } of flying.values()) cancel()
    const closed = more ? source.return?.() : undefined
    // A source that is being waited for closes when it gets to it, or never: that is not waited for.
    if (next) for (const late of [next, closed]) Promise.resolve(late).catch(() => {})
    else await closed
  }
}

function start(
  index: number,
  request: GenerateRequest,
  submit: (request: GenerateRequest) => Submission,
  signal: AbortSignal | undefined,
): { outcome: Promise<Outcome>; cancel: () => void } {
  const name = { index, ...(request?.id !== undefined && { id: request.id }) }
  const signals = [signal, request?.signal].filter((one) => one !== undefined)
  try {
    const submission = submit(signals.length > 0 ? { ...request, signal: AbortSignal.any(signals) } : request)
    const outcome = submission.result().then(
      (result) => ({ ...name, result }),
      (error) => ({ ...name, error: asForetokenError(error) }),
    )
    return { outcome, cancel: () => submission.cancel() }
  } catch (error) {
    return { outcome: Promise.resolve({ ...name, error: asForetokenError(error) }), cancel: () => {} }
  }
}
