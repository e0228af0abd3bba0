/** Reads server-sent events with the time at which their last byte arrived. */
import { SseParser } from '../src/stream/sse.ts'

export interface TimedEvent {
  readonly data: string
  /** A time of `performance.now()`. */
  readonly at: number
}

/** Yields the events of a body, without comments and events that have no data. */
export async function* eventsOf(body: ReadableStream<Uint8Array>): AsyncGenerator<TimedEvent> {
  const parser = new SseParser()
  let at = 0
  for await (const bytes of body) {
    at = performance.now()
    for (const { data } of parser.push(bytes)) yield { data, at }
  }
  for (const { data } of parser.end()) yield { data, at }
}
