/**
 * Answers that are made while they are sent, at the pace of who reads. The request's lifetime ends with the last byte, on an error, when the reader leaves,
 * and when the reader takes nothing for too long.
 */
import { type Lifetime, type LineSeal, WaitBudget } from '../src/index.ts'

/** A reader that is slower than this uses up the time for which it may stall, bytes a millisecond: 16 KiB a second. */
const leastBytesPerMs = 16.384

/** Why a lifetime ended where its reader took nothing. */
export class Stalled extends Error {
  override readonly name = 'Stalled'

  constructor(ms: number) {
    super(`the reader took nothing for ${ms} ms`)
  }
}

/**
 * Bytes as they come. The status waits for the first, so that a refusal has a status of its own. `life` owns everything that the answer holds, and ends
 * with it; a reader may keep it waiting for `stallMs`, not counting the time in which the bytes are made.
 */
export async function byteStream(
  bytes: AsyncGenerator<Uint8Array<ArrayBuffer>>,
  life: Lifetime,
  stallMs: number,
): Promise<Response> {
  // It may stand at a piece that nobody will fetch, and hold pages there. Nobody waits for a maker that hangs.
  life.hold(() => void bytes.return(undefined).catch(() => {}))
  let next: Promise<IteratorResult<Uint8Array>> | undefined = bytes.next()
  try {
    await life.until(next)
  } catch (error) {
    next.catch(() => {})
    await life.end()
    throw error
  }
  const unread = new WaitBudget(stallMs, () => void life.end(new Stalled(stallMs)))
  life.hold(() => unread.stop())
  const body = new ReadableStream<Uint8Array>(
    {
      start(out) {
        // An answer that was stopped must not look whole.
        life.hold(() => out.error(life.signal.reason))
        if (!life.ended) unread.start()
      },
      async pull(out) {
        unread.stop()
        try {
          const { done, value } = await life.until(next ?? bytes.next())
          next = undefined
          if (done) {
            out.close()
            await life.end()
            return
          }
          out.enqueue(value)
          unread.refill(value.length / leastBytesPerMs)
          if (!life.ended) unread.start()
        } catch (error) {
          // The connection breaks off: the reader knows by its missing end.
          out.error(error)
          await life.end()
        }
      },
      cancel: () => void life.end(),
    },
    { highWaterMark: 0 },
  )
  return new Response(body, { headers: { 'content-type': 'application/octet-stream', 'cache-control': 'no-store' } })
}

/** Objects as JSON, a sealed line each. */
export async function lineStream(
  objects: AsyncGenerator<object>,
  seal: LineSeal,
  life: Lifetime,
  stallMs: number,
): Promise<Response> {
  const encoder = new TextEncoder()
  async function* encoded() {
    for await (const object of objects) yield encoder.encode(`${await seal.seal(JSON.stringify(object))}\n`)
  }
  const response = await byteStream(encoded(), life, stallMs)
  response.headers.set('content-type', 'text/plain; charset=utf-8')
  return response
}
