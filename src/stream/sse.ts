/**
 * Reads server-sent events
 * (https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream) as
 * servers really send them. It departs from the standard in two points: an event that ends with the
 * stream, without its blank line, counts, since some servers leave that line out; and a field
 * `error` makes an event of that name, since older llama.cpp servers send failures so.
 */
import { ForetokenError } from '../base/errors.ts'

export interface ServerEvent {
  /** The event's name; `message` if the server names none. */
  readonly event: string
  /** Its `data` lines, joined by line feeds. */
  readonly data: string
}

/** Maximum size of one event, in UTF-16 units. */
export const longestEvent = 16 << 20

/**
 * Turns bytes in chunks of any size into events. The time is proportional to the text, however
 * small the chunks are.
 */
export class SseParser {
  readonly #decoder = new TextDecoder()
  /** The parts of the line that has begun. */
  #line: string[] = []
  /** True if the last character was a CR, which an LF may complete. */
  #afterCr = false
  #event = ''
  #data: string[] = []
  /** Number of UTF-16 units held, plus one for each part and line, so that empty ones count too. */
  #held = 0

  /** Returns the events that these bytes complete. Throws `network` for one that is too long. */
  push(bytes: Uint8Array): ServerEvent[] {
    return this.#read(this.#decoder.decode(bytes, { stream: true }))
  }

  /** Returns the event that the end of the stream completes, if any. */
  end(): ServerEvent[] {
    const events = this.#read(this.#decoder.decode())
    if (this.#line.length > 0) this.#endLine()
    return [...events, ...this.#endEvent()]
  }

  #read(text: string): ServerEvent[] {
    const events: ServerEvent[] = []
    let from = this.#afterCr && text.startsWith('\n') ? 1 : 0
    if (text !== '') this.#afterCr = text.endsWith('\r')
    const ends = /\r\n|\r|\n/g
    ends.lastIndex = from
    for (let end = ends.exec(text); end; end = ends.exec(text)) {
      this.#hold(text.slice(from, end.index))
      if (this.#line.length > 0) this.#endLine()
      else for (const event of this.#endEvent()) events.push(event)
      from = ends.lastIndex
    }
    this.#hold(text.slice(from))
    return events
  }

  #hold(part: string): void {
    if (part === '') return
    this.#line.push(part)
    this.#held += part.length + 1
    if (this.#held > longestEvent)
      throw new ForetokenError('network', `an event of the stream is longer than ${longestEvent} characters`)
  }

  #endLine(): void {
    const line = this.#line.join('')
    this.#line = []
    const colon = line.indexOf(':')
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + (line[colon + 1] === ' ' ? 2 : 1))
    if (field === 'data' || field === 'error') this.#data.push(value)
    else this.#held -= line.length
    if (field === 'event') this.#event = value
    if (field === 'error') this.#event = 'error'
  }

  #endEvent(): ServerEvent[] {
    const [event, data] = [this.#event || 'message', this.#data]
    this.#event = ''
    this.#data = []
    this.#held = 0
    return data.length > 0 ? [{ event, data: data.join('\n') }] : []
  }
}

/**
 * Yields the events of a body. Leaving the loop early cancels it. Rejects as the body does, and
 * with `network` for an event that is too long.
 */
export async function* serverEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerEvent> {
  const reader = body.getReader()
  const parser = new SseParser()
  try {
    for (;;) {
      const { done, value } = await reader.read()
      yield* done ? parser.end() : parser.push(value)
      if (done) return
    }
  } finally {
    // Not awaited, since the other end may never answer.
    reader.cancel().catch(() => {})
  }
}
