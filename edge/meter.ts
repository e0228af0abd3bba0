/** Counts the events of a request as they are handed out, for the metrics and the log. */
import type { ChoiceEvent, Choices } from './choices.ts'
import type { Metrics } from './metrics/metrics.ts'
import { type RequestRecord, tenths } from './record.ts'

export class Meter {
  readonly #metrics: Metrics
  readonly #record: RequestRecord
  readonly #choices: number
  readonly #model: string | undefined
  /** When the last token of each answer was handed out; (choices), as `performance.now`. */
  readonly #last: number[] = []

  /** `choices` of the answers share each prompt, which is counted once. `model` labels the metrics, if there are several. */
  constructor(
    metrics: Metrics,
    record: RequestRecord,
    { choices, model }: { readonly choices: number; readonly model: string | undefined },
  ) {
    this.#metrics = metrics
    this.#record = record
    this.#choices = choices
    this.#model = model
  }

  count(event: ChoiceEvent, choices: Choices): void {
    const { index } = event
    if (event.type === 'token') this.#token(index, choices)
    if (event.type !== 'done') return
    const { done } = event
    const first = index % this.#choices === 0
    this.#metrics.answered(done, first, this.#model)
    const record = this.#record
    record.completion_tokens = (record.completion_tokens ?? 0) + done.ids.length
    if (!first) return
    record.prompt_tokens = (record.prompt_tokens ?? 0) + done.timings.prompt_tokens
    record.cached_tokens = (record.cached_tokens ?? 0) + done.cached_tokens
    record.prefill ??= done.prefill
    this.#routed(index, choices)
    record.ttft_ms ??= tenths(done.timings.ttft_ms)
  }

  #routed(index: number, choices: Choices): void {
    const route = choices.routeOf(index)
    if (!route) return
    this.#metrics.routed(route, this.#model)
    const record = this.#record
    record.way ??= route.way
    if (route.companion !== undefined) record.companion ??= route.companion
    record.predicted_ms ??= tenths(route.predicted_ms)
    if (route.fell_back !== undefined) record.fell_back ??= route.fell_back.slice(0, 300)
  }

  #token(index: number, choices: Choices): void {
    const now = performance.now()
    const last = this.#last[index]
    if (last !== undefined) this.#metrics.token(now - last, choices.soFar.prefill, this.#model)
    this.#last[index] = now
  }
}
