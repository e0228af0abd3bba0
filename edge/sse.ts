/**
 * Streams of an answer: the text of server-sent events, and a body of frames that is written as
 * fast as its client reads.
 */
import { within } from '../src/index.ts'
import { type PaceOptions, pacedBody } from './paced.ts'

const encoder = new TextEncoder()

/** The last frame of a stream. */
export const done = 'data: [DONE]\n\n'

/** The form of a stream. */
export interface StreamFormat {
  readonly contentType: string
  /** Is sent when there was no frame for a while. Clients ignore it. */
  readonly keepAlive: string
}

/** Server-sent events, with comments that keep the connection alive. */
export const eventStream: StreamFormat = {
  contentType: 'text/event-stream; charset=utf-8',
  keepAlive: ': keep-alive\n\n',
}

/** Returns one event. JSON has no line breaks of its own. */
export function frame(data: unknown, event?: string): string {
  return `${event ? `event: ${event}\n` : ''}data: ${JSON.stringify(data)}\n\n`
}

/** Where the frames of a stream come from. A frame is an event, or a line of JSON. */
export interface Frames {
  /** Resolves with the next frame, or with undefined at the end. */
  next(): Promise<string | undefined>
  /** Returns the frame that reports a failure of `next`. It is the last. */
  failed(error: unknown): string
}

/**
 * The body of a stream. `keepAlive` is sent when there was no frame for `keepAliveMs`, and failures
 * are frames, too.
 */
export class EventBody {
  readonly #frames: Frames
  readonly #keepAlive: string
  readonly #keepAliveMs: number
  /** The frame that is being made. */
  #next: Promise<string | undefined> | undefined
  #over = false

  constructor(frames: Frames, keepAlive: string, keepAliveMs: number) {
    this.#frames = frames
    this.#keepAlive = keepAlive
    this.#keepAliveMs = keepAliveMs
  }

  /**
   * Waits for the first frame, `keepAliveMs` at most. Resolves with whether it has come. Rejects
   * with the failure of making it.
   */
  async open(): Promise<boolean> {
    return (await this.#wait()) !== undefined
  }

  /**
   * Returns the bytes of the frames, one frame ahead of the client. `end` is called once, however
   * the body ends.
   */
  stream(pace: Omit<PaceOptions, 'ahead'>): ReadableStream<Uint8Array> {
    return pacedBody(() => this.#chunk(), { ...pace, ahead: 1 })
  }

  async #chunk(): Promise<Uint8Array | undefined> {
    if (this.#over) return undefined
    const text = await this.#text()
    if (text === undefined) this.#over = true
    return text === undefined ? undefined : encoder.encode(text)
  }

  async #text(): Promise<string | undefined> {
    try {
      const waited = await this.#wait()
      if (!waited) return this.#keepAlive
      this.#next = undefined
      return waited.frame
    } catch (error) {
      this.#over = true
      return this.#frames.failed(error)
    }
  }

  /** Waits for the frame that is being made, `keepAliveMs` at most. */
  #wait(): Promise<{ readonly frame: string | undefined } | undefined> {
    this.#next ??= this.#frames.next()
    return within(
      this.#next.then((frame) => ({ frame })),
      this.#keepAliveMs,
    )
  }
}
