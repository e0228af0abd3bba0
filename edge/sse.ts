/** Server-sent events: frames, and a body that is written as fast as its client reads. */
import { within } from '../src/index.ts'
import { type PaceOptions, pacedBody } from './paced.ts'

const encoder = new TextEncoder()

export const done = 'data: [DONE]\n\n'

/** One event. JSON has no line breaks of its own. */
export function frame(data: unknown, event?: string): string {
  return `${event ? `event: ${event}\n` : ''}data: ${JSON.stringify(data)}\n\n`
}

export interface StreamOptions extends Omit<PaceOptions, 'ahead'> {
  /** A comment is sent where nothing else was for so long. */
  readonly keepAliveMs: number
}

/** What came of the first wait for a frame: nothing yet, or all that a stream's headers tell is known. */
export type Opening = { readonly next: Promise<IteratorResult<string>>; readonly ready: boolean }

/** Waits for the first frame, `ms` at most. Rejects where the work fails before. */
export async function opening(frames: AsyncGenerator<string>, ms: number): Promise<Opening> {
  const next = frames.next()
  const ready = (await within(next, ms)) !== undefined
  return { next, ready }
}

/** The body. `frames` must tell failures in a frame of its own, since the status has been sent. */
export function eventStream(
  frames: AsyncGenerator<string>,
  opened: Opening,
  { keepAliveMs, ...pace }: StreamOptions,
): ReadableStream<Uint8Array> {
  let next: Promise<IteratorResult<string>> | undefined = opened.next
  // A client that leaves leaves this unread.
  next.catch(() => {})
  const piece = async () => {
    next ??= frames.next()
    const result = await within(next, keepAliveMs)
    if (result === undefined) return encoder.encode(': keep-alive\n\n')
    next = undefined
    return result.done ? undefined : encoder.encode(result.value)
  }
  return pacedBody(piece, { ...pace, ahead: 1 })
}
