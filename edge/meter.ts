/** Counts what a run makes, on its way to whoever writes it. */
import type { Metrics } from './metrics/metrics.ts'
import { type RequestRecord, tenths } from './record.ts'
import type { Run, RunEvent } from './run.ts'

export class Meter {
  readonly #run: Run
  readonly #metrics: Metrics
  readonly #record: RequestRecord
  readonly #choices: number
  /** When each answer's last token came; (choices). */
  readonly #last: number[] = []

  constructor(run: Run, metrics: Metrics, record: RequestRecord, choices: number) {
    this.#run = run
    this.#metrics = metrics
    this.#record = record
    this.#choices = choices
  }

  async *events(): AsyncGenerator<RunEvent> {
    for await (const event of this.#run) {
      this.#count(event)
      yield event
    }
  }

  #count(event: RunEvent): void {
    if (event.type === 'token') this.#token(event.index)
    if (event.type !== 'done') return
    const { index, done } = event
    const first = index % this.#choices === 0
    this.#metrics.answered(done, first)
    const record = this.#record
    record.completion_tokens = (record.completion_tokens ?? 0) + done.ids.length
    if (!first) return
    record.prompt_tokens = (record.prompt_tokens ?? 0) + done.timings.prompt_tokens
    record.cached_tokens = (record.cached_tokens ?? 0) + done.cached_tokens
    record.prefill ??= done.prefill
    this.#routed(index)
    record.ttft_ms ??= tenths(done.timings.ttft_ms)
  }

  #routed(index: number): void {
    const route = this.#run.routeOf(index)
    if (!route) return
    this.#metrics.routed(route)
    const record = this.#record
    record.way ??= route.way
    if (route.companion !== undefined) record.companion ??= route.companion
    record.predicted_ms ??= tenths(route.predicted_ms)
    if (route.fell_back !== undefined) record.fell_back ??= route.fell_back.slice(0, 300)
  }

  #token(index: number): void {
    const now = performance.now()
    const last = this.#last[index]
    if (last !== undefined) this.#metrics.token(now - last, this.#run.soFar.prefill)
    this.#last[index] = now
  }
}
