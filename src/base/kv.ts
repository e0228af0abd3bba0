/** Types of KV pages, and the layout of a page. */

/** Number format of K and V in a page. */
export type KvType = 'f32' | 'f16' | 'int8'

/** Tokens per KV page. */
export const pageTokens = 16

/** The shape of a model's K and V, which determines the bytes of a page. */
export interface KvShape {
  readonly headDim: number
  /** Says of each layer, (layers), how many KV heads it has, and whether they hold the inputs of a convolution. */
  readonly layers: readonly { readonly kvHeads: number; readonly convolution?: unknown }[]
}

/** One layer's part of a page. */
export interface LayerLayout {
  /** Its offset in a page, and its bytes. */
  readonly at: number
  readonly bytes: number
  readonly kvHeads: number
  /** Whether it holds the inputs of a convolution: half of the channels as K, half as V. */
  readonly convolution: boolean
  readonly type: KvType
}

/** Places of the layers in a page. */
export interface PageLayout {
  readonly layers: readonly LayerLayout[]
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
 * Returns the layout of a page of `pageTokens` tokens: layers end to end, each with K of all heads,
 * V of all heads, and the scales of both for int8. No other TypeScript computes it, and the pool
 * compares it with the Rust core.
 *
 * Inputs of a convolution have 16 bits or more: int8 pages hold them as f16
 * (docs/decisions/047-convolution-inputs-in-pages.md).
 */
export function pageLayout({ headDim, layers }: KvShape, type: KvType): PageLayout {
  let bytes = 0
  const placed = layers.map(({ kvHeads, convolution }): LayerLayout => {
    const own = convolution && type === 'int8' ? 'f16' : type
    const { number, scale } = elementBytes[own]
    const size = 2 * kvHeads * pageTokens * (headDim * number + scale)
    const layer = { at: bytes, bytes: size, kvHeads, convolution: Boolean(convolution), type: own }
    bytes += size
    return layer
  })
  return { layers: placed, bytes }
}

/** Returns the number of values of K, or of V, that a layer keeps for a token. */
export function kvWidth({ kvHeads, headDim }: { readonly kvHeads: number; readonly headDim: number }): number {
  return kvHeads * headDim
}

/**
 * Pages of K and V for all layers of one model. Page ids are whole numbers from 0 that the pool
 * chooses; they need not be contiguous.
 */
export interface KvPool {
  /** The type in which K and V are held. Inputs of convolutions may have another, see `pageLayout`. */
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
   * Adds up to `pages` pages, at least one, and returns their ids; fewer only if memory holds no
   * more. Throws `out_of_memory`, without a change, if it holds none.
   */
  add(pages: number): number[]
  /** Frees pages. They must not be used any more; their ids may be reused. */
  remove(pages: readonly number[]): void
  /** Returns a copy of a page's raw bytes, for saving and for the wire. */
  readPage(page: number): Promise<Uint8Array>
  writePage(page: number, bytes: Uint8Array): void
}
