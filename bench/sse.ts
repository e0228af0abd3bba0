/** Server-sent events as they come, with the time at which their last byte did. */
import { SseParser } from '../src/stream/sse.ts'

export interface TimedEvent {
  readonly data: string
  /** Of `performance.now()`. */
  readonly at: number
}

/** Comments and events without data are left out. */
export async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<TimedEvent> {
  const parser = new SseParser()
  let at = 0
  for await (const bytes of body) {
    at = performance.now()
    for (const { data } of parser.push(bytes)) yield { data, at }
  }
  for (const { data } of parser.end()) yield { data, at }
}
