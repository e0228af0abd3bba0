/** Pages of K and V, and their form on the wire. */

/** How a KV page stores K and V. */
export type KvType = 'f32' | 'f16' | 'int8'

/** Tokens per KV page. */
export const pageTokens = 16

/** The shape of the K and V of a model: all that the bytes of a page follow from. */
export interface KvShape {
  readonly headDim: number
  /** KV heads of each layer, (layers). */
  readonly layers: readonly { readonly kvHeads: number }[]
}

/** Where the layers of a page lie. */
export interface PageLayout {
  /** For each layer: where it begins in a page, its bytes, and its KV heads. */
  readonly layers: readonly { readonly at: number; readonly bytes: number; readonly kvHeads: number }[]
  /** Bytes of a page. */
  readonly bytes: number
}

/** Bytes of one number of K or V, and of the scale that stands beside those of a token's head. */
const elementBytes: Readonly<Record<KvType, { readonly number: number; readonly scale: number }>> = {
  f32: { number: 4, scale: 0 },
  f16: { number: 2, scale: 0 },
  int8: { number: 1, scale: 4 },
}

/**
 * Returns the layout of a page of `pageTokens` tokens: layers end to end, each with K of all heads, V of all heads, and for int8
 * their scales. This is the one place that computes it; the Rust core, which has the same rule, is compared with it.
 */
export function pageLayout({ headDim, layers }: KvShape, type: KvType): PageLayout {
  const { number, scale } = elementBytes[type]
  let bytes = 0
  const placed = layers.map(({ kvHeads }) => {
    const layer = { at: bytes, bytes: 2 * kvHeads * pageTokens * (headDim * number + scale), kvHeads }
    bytes += layer.bytes
    return layer
  })
  return { layers: placed, bytes }
}

/** Values of K, or of V, that a layer keeps for a token. */
export function kvWidth({ kvHeads, headDim }: { readonly kvHeads: number; readonly headDim: number }): number {
  return kvHeads * headDim
}

/** Pages of K and V for all layers of one model. Page ids are whole numbers from 0 that the pool chooses; they need not be neighbours. */
export interface KvPool {
  readonly type: KvType
  readonly layers: number
  /** The largest of any layer. */
  readonly kvHeads: number
  readonly headDim: number
  /** Bytes of one page, all layers. */
  readonly pageBytes: number
  /** Pages that exist now. */
  readonly pages: number
  /**
   * Makes up to `pages` more, at least one, and returns their ids: fewer only if memory holds no more. Throws `out_of_memory` if it
   * holds none; nothing has changed then.
   */
  add(pages: number): number[]
  /** Gives the memory of some pages back. Nobody may use them any more; their ids may come again. */
  remove(pages: readonly number[]): void
  /** A copy of a page's raw bytes, for saving and for the wire. */
  readPage(page: number): Promise<Uint8Array>
  writePage(page: number, bytes: Uint8Array): void
}

/** How values of K and V become bytes of the wire; transfer/wire.ts tells each format. */
export const wireCodecs = ['f32', 'f16', 'int8', 'int4', 'residual'] as const

export type WireCodec = (typeof wireCodecs)[number]

/** Some layers of some tokens of a sequence. */
export interface KvBlock {
  /** Layers `from`..`to` - 1. */
  readonly layers: { readonly from: number; readonly to: number }
  /** Positions `from`..`to` - 1; `from` begins a page. */
  readonly from: number
  readonly to: number
  /** Page ids of the sequence, from position 0 on. */
  readonly pages: readonly number[]
}

/** A codec, and what `residual` needs beside the bytes. */
export interface KvCoding {
  readonly codec: WireCodec
  /** Pages that hold the prediction, from position 0 on: of `residual`, for encoding. */
  readonly base?: readonly number[]
  /** Quantiser's steps of the block's layers: of `residual`, (layers, kvHeads, headDim + 1), see transfer/residual.ts. */
  readonly steps?: Float32Array
}

/** Turns blocks of pages into bytes of the wire and back. */
export interface KvCodec {
  /** Bytes of `tokens` tokens of some layers; of `residual`, the most that they can take. */
  kvBytes(pool: KvPool, layers: KvBlock['layers'], tokens: number, codec: WireCodec): number
  /** The bytes of a block, an array of their own. Waits for all work before it. */
  encodeKv(pool: KvPool, block: KvBlock, coding: KvCoding): Promise<Uint8Array<ArrayBuffer>>
  /**
   * Writes a block's bytes into its pages; `residual` adds them to what the pages hold. Nothing outside the block changes. Throws
   * `bad_kv` for bytes that are no such block: of another length, or not decodable.
   */
  decodeKv(pool: KvPool, block: KvBlock, coding: KvCoding, bytes: Uint8Array): Promise<void>
}
