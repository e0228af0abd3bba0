/** Names, sizes and tiles of the wire format, which wire.ts specifies. */
import type { WireCodec } from '../base/kv.ts'

/** Everything but the tokens that K and V depend on: SHA-256 each, in hex. */
export interface KvIdentity {
  /** The model's name, for messages. */
  readonly name: string
  readonly model: string
  readonly tokenizer: string
  readonly rope: string
  /** Present for an engine with a predictor. */
  readonly predictor?: string
}

/** The shape of the K and V of a token. */
export interface KvShape {
  readonly layers: number
  readonly kvHeads: number
  readonly headDim: number
}

/** The part of a prompt's K and V that a stream holds. */
export interface KvRange {
  readonly codec: WireCodec
  readonly from: number
  readonly to: number
  /** Number of tokens of the prompt that the prediction is made for. */
  readonly promptTokens: number
  readonly firstLayer: number
  readonly tileTokens: number
  readonly tileLayers: number
  readonly mostBytes: number
  readonly table: Uint8Array
}

/** The fields that determine how a range is cut into tiles. */
export type KvTiles = Pick<KvRange, 'from' | 'to' | 'firstLayer' | 'tileTokens' | 'tileLayers'>

export interface WireTile {
  readonly index: number
  readonly from: number
  readonly to: number
  readonly layers: { readonly from: number; readonly to: number }
}

/** The values that both ends of a stream know. */
export interface WireBinding {
  readonly identity: KvIdentity
  readonly shape: KvShape
  /** The token ids of the prompt, at least up to `to`. */
  readonly ids: readonly number[]
  /** At least 16 bytes. */
  readonly key: Uint8Array
  /** Binds the stream to a request. Default ''. */
  readonly context?: string
}

/** Returns the bytes of a tile's payload; undefined if only the maximum is known. */
export type TileBytes = (tile: WireTile) => number | undefined

export const magic = new TextEncoder().encode('FTKVWIRE')

export const version = 1

export const headBytes = 256

export const tileHeadBytes = 24

export const macBytes = 32

export const mostTileBytes = 1 << 22

export const mostTableBytes = 65_280

/** Yields the tiles of a range in their order on the wire. */
export function* tilesOf({ layers }: Pick<KvShape, 'layers'>, range: KvTiles): Generator<WireTile> {
  const { from, to, firstLayer, tileTokens, tileLayers } = range
  let index = 0
  for (let at = from; at < to; at += tileTokens)
    for (let layer = firstLayer; layer < layers; layer += tileLayers)
      yield {
        index: index++,
        from: at,
        to: Math.min(to, at + tileTokens),
        layers: { from: layer, to: Math.min(layers, layer + tileLayers) },
      }
}

export function tileCount({ layers }: KvShape, { from, to, firstLayer, tileTokens, tileLayers }: KvRange): number {
  return Math.ceil((to - from) / tileTokens) * Math.ceil((layers - firstLayer) / tileLayers)
}
