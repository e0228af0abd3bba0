/** Answers that are made while they are sent, at the pace of who reads; who leaves ends the work. */
import type { LineSeal } from '../src/index.ts'

/**
 * Bytes as they come. The status waits for the first, so that a refusal has a status of its own. `leave` is called once all is over:
 * at the end, on an error, when the reader leaves, and when `control` fires, be the body read or not.
 */
export async function byteStream(
  bytes: AsyncGenerator<Uint8Array<ArrayBuffer>>,
  control: AbortController,
  leave: () => void,
): Promise<Response> {
  const { signal } = control
  const over = () => {
    leave()
    // It may stand at a piece that nobody will fetch, and hold pages there.
    void bytes.return(undefined).catch(() => {})
  }
  const end = () => control.abort()
  let next: Promise<IteratorResult<Uint8Array>> | undefined = bytes.next()
  try {
    await next
  } catch (error) {
    leave()
    end()
    throw error
  }
  if (signal.aborted) over()
  else signal.addEventListener('abort', over, { once: true })
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(out) {
        try {
          const { done, value } = await (next ?? bytes.next())
          next = undefined
          // An answer that was stopped must not look whole.
          if (signal.aborted) throw signal.reason
          if (value) out.enqueue(value)
          if (!done) return
          end()
          out.close()
        } catch (error) {
          // The connection breaks off: the reader knows by its missing end.
          end()
          out.error(error)
        }
      },
      cancel: end,
    },
    { highWaterMark: 0 },
  )
  return new Response(body, { headers: { 'content-type': 'application/octet-stream', 'cache-control': 'no-store' } })
}

/** Objects as JSON, a sealed line each. */
export async function lineStream(
  objects: AsyncGenerator<object>,
  seal: LineSeal,
  control: AbortController,
  leave: () => void,
): Promise<Response> {
  const encoder = new TextEncoder()
  async function* encoded() {
    for await (const object of objects) yield encoder.encode(`${await seal.seal(JSON.stringify(object))}\n`)
  }
  const response = await byteStream(encoded(), control, leave)
  response.headers.set('content-type', 'text/plain; charset=utf-8')
  return response
}
