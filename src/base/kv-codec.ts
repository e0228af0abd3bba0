/** Types of K and V on the wire: blocks of pages, the codecs, and what turns one into the other. */
import type { KvPool } from './kv.ts'

/** Formats of K and V on the wire; transfer/wire.ts describes each. */
export const wireCodecs = ['f32', 'f16', 'int8', 'int4', 'residual'] as const

/** A format of K and V on the wire. */
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

/** A codec, with what `residual` needs in addition. */
export interface KvCoding {
  readonly codec: WireCodec
  /** For encoding `residual`: page ids of the prediction, from position 0 on. */
  readonly base?: readonly number[]
  /**
   * For `residual`: the quantiser's steps of the block's layers, (layers, kvHeads, headDim + 1),
   * see transfer/residual.ts.
   */
  readonly steps?: Float32Array
}

/** Turns blocks of pages into bytes of the wire and back. */
export interface KvCodec {
  /** Returns the bytes of `tokens` tokens of some layers; for `residual`, the maximum. */
  kvBytes(pool: KvPool, layers: KvBlock['layers'], tokens: number, codec: WireCodec): number
  /** Returns the bytes of a block in a new array. Waits for all work before it. */
  encodeKv(pool: KvPool, block: KvBlock, coding: KvCoding): Promise<Uint8Array<ArrayBuffer>>
  /**
   * Writes a block's bytes into its pages; `residual` adds them to what the pages hold. Changes
   * nothing outside the block. Throws `bad_kv` for bytes of the wrong length or that cannot be
   * decoded.
   */
  decodeKv(pool: KvPool, block: KvBlock, coding: KvCoding, bytes: Uint8Array): Promise<void>
}
