/** A file's bytes from an address. */
import { ForetokenError } from '../src/index.ts'

export type Answered = Response & { readonly body: ReadableStream<Uint8Array> }

/** From byte `from` on, where the server gives ranges. Rejects with `network`. */
export async function asked(url: URL, from: number): Promise<Answered> {
  const elsewhere = url.origin === self.location.origin ? '' : ', and that it allows this page (CORS)'
  const response = await fetch(url, from > 0 ? { headers: { range: `bytes=${from}-` } } : {}).catch((cause) => {
    throw new ForetokenError(
      'network',
      `${url} can't be reached (${cause.message}); check the network${elsewhere}; then load again`,
      { cause },
    )
  })
  const type = response.headers.get('content-type') ?? ''
  if (!response.ok || !response.body || type.startsWith('text/html'))
    throw new ForetokenError(
      'network',
      `${url} answers ${response.status}${type ? ` with ${type}` : ''}, not the model; is the address right?`,
    )
  return response as Answered
}

/** Rejects with `network`. */
export async function* bodyOf({ body }: Answered): AsyncGenerator<Uint8Array> {
  const reader = body.getReader()
  for (;;) {
    const { done, value } = await reader.read().catch((cause) => {
      throw new ForetokenError('network', `the download broke off (${cause.message}); load again to go on from there`, {
        cause,
      })
    })
    if (done) return
    yield value
  }
}
