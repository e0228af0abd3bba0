/**
 * A body that is made as fast as its client reads, and given up when the client does not read any
 * more.
 */
import { after } from '../src/index.ts'

/**
 * How a body ended. `done`: it is complete; `gone`: its client went away; `stalled`: the client
 * read nothing for too long; `failed`: making it failed.
 */
export type Ending = 'done' | 'gone' | 'stalled' | 'failed'

export interface PaceOptions {
  /** How long a client may read nothing, in milliseconds. */
  readonly stallMs: number
  /** Number of chunks that are made before the client asks for them. Default 0. */
  readonly ahead?: number
  /** Called once, however the body ends. */
  readonly end: (ending: Ending) => void
}

/** Returns a body of the chunks that `next` makes; undefined ends it. */
export function pacedBody(
  next: () => Promise<Uint8Array | undefined>,
  { stallMs, ahead = 0, end }: PaceOptions,
): ReadableStream<Uint8Array> {
  let reads: (() => void) | undefined
  let ended = false
  const over = (ending: Ending) => {
    reads?.()
    if (ended) return
    ended = true
    end(ending)
  }
  const wait = (controller: ReadableStreamDefaultController) => {
    reads = after(stallMs, () => {
      controller.error(new Error('the client reads no more'))
      over('stalled')
    })
  }
  return new ReadableStream<Uint8Array>(
    {
      start: wait,
      async pull(controller) {
        reads?.()
        try {
          const chunk = await next()
          if (ended) return
          if (chunk === undefined) {
            controller.close()
            over('done')
            return
          }
          controller.enqueue(chunk)
        } catch (error) {
          over('failed')
          throw error
        }
        wait(controller)
      },
      cancel: () => over('gone'),
    },
    { highWaterMark: ahead },
  )
}
