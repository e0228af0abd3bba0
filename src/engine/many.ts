/** Many requests, a bounded number at once. */
import { fieldsOf, signalOf, withArguments, wrong } from '../base/checks.ts'
import { asForetokenError, type ForetokenError } from '../base/errors.ts'
import type { DoneEvent } from '../stream/events.ts'
import { checkedRequest, type GenerateRequest } from './options.ts'
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
  options: ManyOptions,
): AsyncGenerator<Outcome> {
  const { concurrency, signal } = withArguments('generateMany', () => {
    const { concurrency = 32, signal } = fieldsOf('the options', options, 'be absent')
    if (typeof concurrency !== 'number' || !(concurrency >= 1))
      throw wrong('concurrency', 'a number from 1', concurrency)
    return { concurrency, signal: signalOf('signal', signal) }
  })
  const source = withArguments('generateMany', () => sourceOf(requests))
  const flying = new Map<number, { outcome: Promise<Outcome>; cancel: () => void }>()
  let pulled = 0
  let more = true
  // The next request is waited for beside those in flight: a slow source must not hold back their results.
  let next: Promise<IteratorResult<GenerateRequest>> | undefined
  try {
    while (more || flying.size > 0) {
      if (more && flying.size < concurrency) next ??= withArguments('the source of requests', async () => source.next())
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

type Requests = Iterable<GenerateRequest> | AsyncIterable<GenerateRequest>

function sourceOf(requests: Requests): Iterator<GenerateRequest> | AsyncIterator<GenerateRequest> {
  const any = Object(requests) as Partial<Iterable<GenerateRequest> & AsyncIterable<GenerateRequest>>
  if (typeof requests !== 'string') {
    if (typeof any[Symbol.asyncIterator] === 'function') return any[Symbol.asyncIterator]!()
    if (typeof any[Symbol.iterator] === 'function') return any[Symbol.iterator]!()
  }
  throw wrong('requests', 'a list of requests, or another iterable', requests)
}

function start(
  index: number,
  request: GenerateRequest,
  submit: (request: GenerateRequest) => Submission,
  signal: AbortSignal | undefined,
): { outcome: Promise<Outcome>; cancel: () => void } {
  let name: { readonly index: number; readonly id?: string } = { index }
  try {
    const checked = checkedRequest(request)
    name = { index, ...(checked.id !== undefined && { id: checked.id }) }
    const signals = [signal, checked.signal].filter((one) => one !== undefined)
    const submission = submit(signals.length > 0 ? { ...checked, signal: AbortSignal.any(signals) } : checked)
    const outcome = submission.result().then(
      (result) => ({ ...name, result }),
      (error) => ({ ...name, error: asForetokenError(error) }),
    )
    return { outcome, cancel: () => submission.cancel() }
  } catch (error) {
    return { outcome: Promise.resolve({ ...name, error: asForetokenError(error) }), cancel: () => {} }
  }
}
