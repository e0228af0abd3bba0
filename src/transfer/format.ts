/** Names, sizes and tiles of the wire format that wire.ts specifies. */
import type { WireCodec } from '../base/kv.ts'

/** What K and V depend on beside the tokens: SHA-256 each, hex. */
export interface KvIdentity {
  /** For messages. */
  readonly name: string
  readonly model: string
  readonly tokenizer: string
  readonly rope: string
  /** Of an engine with a predictor. */
  readonly predictor?: string
}

/** The shape of the K and V. */
export interface KvShape {
  readonly layers: number
  readonly kvHeads: number
  readonly headDim: number
}

/** Which of a prompt's K and V a stream holds. */
export interface KvRange {
  readonly codec: WireCodec
  readonly from: number
  readonly to: number
  /** Of the prompt that a prediction is made for. */
  readonly promptTokens: number
  readonly firstLayer: number
  readonly tileTokens: number
  readonly tileLayers: number
  readonly mostBytes: number
  readonly table: Uint8Array
}

/** What says how a range is cut into tiles. */
export type KvTiles = Pick<KvRange, 'from' | 'to' | 'firstLayer' | 'tileTokens' | 'tileLayers'>

export interface WireTile {
  readonly index: number
  readonly from: number
  readonly to: number
  readonly layers: { readonly from: number; readonly to: number }
}

/** What both ends of a stream know. */
export interface WireBinding {
  readonly identity: KvIdentity
  readonly shape: KvShape
  /** The prompt, at least as far as `to`. */
  readonly ids: readonly number[]
  /** At least 16 bytes. */
  readonly key: Uint8Array
  /** Binds the stream to a request. Default ''. */
  readonly context?: string
}

/** Bytes of a payload; undefined where only the most is known. */
export type TileBytes = (tile: WireTile) => number | undefined

export const magic = new TextEncoder().encode('FTKVWIRE')

export const version = 1

export const headBytes = 256

export const tileHeadBytes = 24

export const macBytes = 32

export const mostTileBytes = 1 << 22

export const mostTableBytes = 65_280

/** The tiles of a range, in their order on the wire. */
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
