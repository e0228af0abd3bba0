/** Makes wire streams without a model: payloads of given bytes, cut anywhere. */
import { joinBytes } from '../../src/base/bytes.ts'
import { ForetokenError } from '../../src/base/errors.ts'
import type { KvRange, WireBinding } from '../../src/transfer/format.ts'
import { readWire, writeWire } from '../../src/transfer/wire.ts'
import { random } from './random.ts'

export const wireBinding: WireBinding = {
  identity: { name: 'tiny', model: 'a1'.repeat(32), tokenizer: 'b2'.repeat(32), rope: 'c3'.repeat(32) },
  shape: { layers: 5, kvHeads: 2, headDim: 8 },
  ids: Array.from({ length: 120 }, (_, at) => (at * 37) % 251),
  key: new Uint8Array(32).fill(9),
  context: 'request 1',
}

export const wireRange: KvRange = {
  codec: 'f16',
  from: 16,
  to: 117,
  promptTokens: 117,
  firstLayer: 0,
  tileTokens: 32,
  tileLayers: 2,
  mostBytes: 4096,
  table: new Uint8Array(0),
}

/** Returns the bytes of a tile of `wireRange`'s shape in f16. */
export const f16Bytes = ({ from, to, layers }: { from: number; to: number; layers: { from: number; to: number } }) =>
  (to - from) * (layers.to - layers.from) * 2 * 2 * 8 * 2

/** Returns all pieces of a stream whose payloads are pseudo-random. */
export async function wirePieces(binding = wireBinding, range = wireRange): Promise<Uint8Array[]> {
  const rng = random(3)
  const pieces: Uint8Array[] = []
  for await (const piece of writeWire(binding, range, async (tile) => rng.bytes(f16Bytes(tile)))) pieces.push(piece)
  return pieces
}

/** Cuts `bytes` at these places; without any it stays whole. */
export async function* cut(bytes: Uint8Array, places: readonly number[] = []): AsyncGenerator<Uint8Array> {
  const ends = [...places.filter((place) => place <= bytes.length).sort((a, b) => a - b), bytes.length]
  let at = 0
  for (const end of ends) {
    yield bytes.subarray(at, end)
    at = end
  }
}

/** Returns the payloads read, or the code of the error, which must be a ForetokenError's. */
export async function readBack(
  body: AsyncIterable<Uint8Array>,
  {
    binding = wireBinding,
    from = wireRange.from,
    to = wireRange.to,
    signal = undefined as AbortSignal | undefined,
  } = {},
): Promise<{ code: string; payload: Uint8Array; tiles: number }> {
  const payloads: Uint8Array[] = []
  try {
    await readWire(body, binding, {
      from,
      to,
      signal,
      accept: () => f16Bytes,
      tile: async (_, payload) => {
        payloads.push(payload.slice())
      },
    })
    return { code: 'read', payload: joinBytes(payloads), tiles: payloads.length }
  } catch (error) {
    if (!(error instanceof ForetokenError)) throw error
    return { code: error.code, payload: joinBytes(payloads), tiles: payloads.length }
  }
}
