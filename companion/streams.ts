/**
 * Streams answers at the pace of their readers. The lifetime of the request ends with the last
 * byte, on an error, when the reader leaves, and when the reader takes nothing for too long.
 */
import { type Lifetime, type LineSeal, WaitBudget } from '../src/index.ts'

/**
 * A reader slower than this, in bytes per millisecond (16 KiB/s), uses up the time for which it may
 * stall.
 */
const leastBytesPerMs = 16.384

/** The reason of a lifetime that ended because its reader took nothing. */
export class Stalled extends Error {
  override readonly name = 'Stalled'

  constructor(ms: number) {
    super(`the reader took nothing for ${ms} ms`)
  }
}

/**
 * Returns a response that streams bytes as they are generated. It waits for the first, so that a
 * refusal has its own status. `life` owns everything that the answer holds, and ends with it. The
 * reader may let the answer wait for `stallMs`, not counting the time in which bytes are generated.
 */
export async function byteStream(
  bytes: AsyncGenerator<Uint8Array<ArrayBuffer>>,
  life: Lifetime,
  stallMs: number,
): Promise<Response> {
  // The generator may be suspended at a chunk that nobody fetches, and hold pages. The end does not
  // wait for one that hangs.
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
        // An answer that was stopped must not look complete.
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
          // Breaks the connection off: the reader notices the missing end.
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

/** Returns a response that streams objects as JSON, each a sealed line. As `byteStream`. */
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
