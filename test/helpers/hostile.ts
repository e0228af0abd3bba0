/**
 * A companion that has the key and sends what a test tells it to: its signatures and seals are
 * valid.
 */
import { type Fetch, LineSeal, parseSigned } from '../../src/index.ts'
import { pairKey } from './companion.ts'

/**
 * Contents of a relayed answer: a text is sealed as a line, bytes are sent unchanged, and a number
 * is a wait in milliseconds.
 */
export type Piece = string | Uint8Array | number

export interface Hostile {
  readonly fetch: Fetch
  /** Number of pieces requested. */
  readonly sent: number
  /** Number of bodies neither finished nor cancelled. */
  readonly open: number
}

/** Answers requests of a path with the pieces, generated on demand; other paths do not exist. */
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
