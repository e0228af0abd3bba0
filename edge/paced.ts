/** A body that is written as fast as its client reads, and given up when it reads no more. */

/** How a body ended: whole; its client went away, or read nothing for too long; it could not be made. */
export type Ending = 'done' | 'gone' | 'stalled' | 'failed'

export interface PaceOptions {
  /** A client that reads nothing for so long is given up. */
  readonly stallMs: number
  /** Pieces that are made before they are asked for. Default 0. */
  readonly ahead?: number
  /** Called once, whatever the end. */
  readonly end: (ending: Ending) => void
}

/** `next` makes a piece; undefined ends the body. */
export function pacedBody(
  next: () => Promise<Uint8Array | undefined>,
  { stallMs, ahead = 0, end }: PaceOptions,
): ReadableStream<Uint8Array> {
  let stall: ReturnType<typeof setTimeout> | undefined
  let ended = false
  const over = (ending: Ending) => {
    clearTimeout(stall)
    if (ended) return
    ended = true
    end(ending)
  }
  const wait = (controller: ReadableStreamDefaultController) => {
    stall = setTimeout(() => {
      controller.error(new Error('the client reads no more'))
      over('stalled')
    }, stallMs)
  }
  return new ReadableStream<Uint8Array>(
    {
      start: wait,
      async pull(controller) {
        clearTimeout(stall)
        try {
          const piece = await next()
          if (ended) return
          if (piece === undefined) {
            controller.close()
            over('done')
            return
          }
          controller.enqueue(piece)
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
