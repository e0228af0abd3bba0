/** Answers that are made while they are sent, at the pace of who reads; who leaves ends the work. */

/** Bytes as they come. The status waits for the first, so that a refusal has a status of its own. */
export async function byteStream(
  bytes: AsyncGenerator<Uint8Array<ArrayBuffer>>,
  control: AbortController,
  leave: () => void,
): Promise<Response> {
  let next: Promise<IteratorResult<Uint8Array>> | undefined = bytes.next()
  const end = () => {
    leave()
    control.abort()
  }
  try {
    await next
  } catch (error) {
    end()
    throw error
  }
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(out) {
        try {
          const { done, value } = await (next ?? bytes.next())
          next = undefined
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
      async cancel() {
        end()
        await bytes.return(undefined).catch(() => {})
      },
    },
    { highWaterMark: 0 },
  )
  return new Response(body, { headers: { 'content-type': 'application/octet-stream', 'cache-control': 'no-store' } })
}

/** Objects, a line each. */
export async function lineStream(
  objects: AsyncGenerator<object>,
  control: AbortController,
  leave: () => void,
): Promise<Response> {
  const encoder = new TextEncoder()
  async function* encoded() {
    for await (const object of objects) yield encoder.encode(`${JSON.stringify(object)}\n`)
  }
  const response = await byteStream(encoded(), control, leave)
  response.headers.set('content-type', 'application/x-ndjson')
  return response
}
