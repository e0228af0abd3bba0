/** A companion that has the key, and answers what a test wants: its signatures and seals are right. */
import { type Fetch, LineSeal, parseSigned } from '../../src/index.ts'
import { pairKey } from './companion.ts'

/** What is sent of a relayed answer: a text is sealed as a line, bytes are sent as they are, a number waits for milliseconds. */
export type Piece = string | Uint8Array | number

export interface Hostile {
  readonly fetch: Fetch
  /** Pieces that were asked for. */
  readonly sent: number
  /** Bodies that neither came to their end nor were let go. */
  readonly open: number
}

/** Answers requests of a path with the pieces, made as the network asks for them; there is no other path. */
export function hostile(path: string, pieces: () => Iterable<Piece> | AsyncIterable<Piece>): Hostile {
  const state = { sent: 0, open: 0 }
  const encoder = new TextEncoder()
  const fetch: Fetch = async (input, { headers, signal }) => {
    if (new URL(input).pathname !== path) return new Response(null, { status: 404 })
    const { nonce } = parseSigned(new Headers(headers).get('authorization'))!
    const seal = await LineSeal.of(pairKey, nonce)
    async function* bytes() {
      for await (const piece of pieces()) {
        state.sent++
        if (typeof piece === 'number') await pause(piece, signal)
        else yield typeof piece === 'string' ? encoder.encode(`${await seal.seal(piece)}\n`) : piece
      }
    }
    const source = bytes()
    state.open++
    const body = new ReadableStream<Uint8Array>(
      {
        async pull(out) {
          const { done, value } = await source.next()
          if (!done) return out.enqueue(value)
          state.open--
          out.close()
        },
        cancel() {
          state.open--
        },
      },
      { highWaterMark: 0 },
    )
    return new Response(body)
  }
  return {
    fetch,
    get sent() {
      return state.sent
    },
    get open() {
      return state.open
    },
  }
}

function pause(ms: number, signal: AbortSignal | null | undefined): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    signal?.addEventListener('abort', () => {
      clearTimeout(timer)
      resolve()
    })
  })
}
