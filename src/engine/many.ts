/** Answers many requests, a bounded number at a time. */
import { withArguments, wrong } from '../base/checks.ts'
import { asForetokenError } from '../base/errors.ts'
import { checkedFields } from '../base/fields.ts'
import { checkedRequest, type GenerateRequest, type ManyOptions, manyChecks } from './options.ts'
import type { Answer, Outcome } from './service.ts'

/**
 * Yields outcomes as soon as they are known, in any order. Requests are pulled from the source when
 * there is room for one more, so the source may be endless. Leaving the loop cancels the requests
 * in flight.
 */
export async function* submitMany(
  requests: Iterable<GenerateRequest> | AsyncIterable<GenerateRequest>,
  submit: (request: GenerateRequest) => Pick<Answer, 'result' | 'cancel'>,
  options: ManyOptions,
): AsyncGenerator<Outcome> {
  const { concurrency, signal } = withArguments('generateMany', () => {
    const { concurrency = 32, signal } = checkedFields('the options', options, manyChecks, 'be absent')
    return { concurrency, signal }
  })
  const source = withArguments('generateMany', () => sourceOf(requests))
  const inFlight = new Map<number, { outcome: Promise<Outcome>; cancel: () => void }>()
  let pulled = 0
  let more = true
  // Waits for the next request and for those in flight together, so that a slow source does not
  // hold back results.
  let next: Promise<IteratorResult<GenerateRequest>> | undefined
  try {
    while (more || inFlight.size > 0) {
      if (more && inFlight.size < concurrency)
        next ??= withArguments('the source of requests', async () => source.next())
      const outcomes = [...inFlight.values()].map(({ outcome }) => outcome)
      const first = await Promise.race(next ? [next, ...outcomes] : outcomes)
      if ('index' in first) {
        inFlight.delete(first.index)
        yield first
        continue
      }
      next = undefined
      if (first.done) more = false
      else {
        const index = pulled++
        inFlight.set(index, start(index, first.value, submit, signal))
      }
    }
  } finally {
    for (const { cancel } of inFlight.values()) cancel()
    const closed = more ? source.return?.() : undefined
    // A source with a pending `next` closes after it, or never, so its end is not awaited.
    if (next) for (const late of [next, closed]) Promise.resolve(late).catch(() => {})
    else await closed
  }
}

type Requests = Iterable<GenerateRequest> | AsyncIterable<GenerateRequest>

function sourceOf(requests: Requests): Iterator<GenerateRequest> | AsyncIterator<GenerateRequest> {
  const source = Object(requests) as Partial<Iterable<GenerateRequest> & AsyncIterable<GenerateRequest>>
  if (typeof requests !== 'string') {
    const { [Symbol.asyncIterator]: later, [Symbol.iterator]: now } = source
    if (typeof later === 'function') return later.call(source)
    if (typeof now === 'function') return now.call(source)
  }
  throw wrong('requests', 'a list of requests, or another iterable', requests)
}

function start(
  index: number,
  request: GenerateRequest,
  submit: (request: GenerateRequest) => Pick<Answer, 'result' | 'cancel'>,
  signal: AbortSignal | undefined,
): { outcome: Promise<Outcome>; cancel: () => void } {
  let label: { readonly index: number; readonly id?: string } = { index }
  try {
    const checked = checkedRequest(request)
    label = { index, ...(checked.id !== undefined && { id: checked.id }) }
    const signals = [signal, checked.signal].filter((one) => one !== undefined)
    const { prefill, verify = prefill === 'refined' || prefill === 'auto' } = checked
    const answer = submit({ ...checked, verify, ...(signals.length > 0 && { signal: AbortSignal.any(signals) }) })
    const outcome = answer.result().then(
      (result) => ({ ...label, result }),
      (error) => ({ ...label, error: asForetokenError(error) }),
    )
    return { outcome, cancel: () => answer.cancel() }
  } catch (error) {
    return { outcome: Promise.resolve({ ...label, error: asForetokenError(error) }), cancel: () => {} }
  }
}
