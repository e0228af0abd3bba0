/**
 * Loads K and V that were computed elsewhere, to be written into pages as if the pass had made them.
 *
 * They are kept before the norm and the rotation of K, so that the kernels of a layer rotate them to
 * their new places, and pages of any type round them once.
 */
import type { Backend, Tensor } from '../backend/backend.ts'
import { at } from '../base/at.ts'
import type { ModelSpec } from '../base/model.ts'
import type { Placed, PlacedKv, Segment } from '../base/pass.ts'

/** Tokens that are placed together, as many as a pass may have. */
export interface PlacedBatch {
  readonly segments: readonly Segment[]
  /** The source of each segment, and the index of its first token there. */
  readonly sources: readonly { readonly kv: PlacedKv; readonly from: number }[]
}

/** The tensor that holds the K and V of a layer, and its halves. */
interface Loaded {
  readonly kv: Tensor
  readonly k: Tensor
  readonly v: Tensor
}

export class PlacedWriter {
  readonly #backend: Backend
  readonly #widths: readonly number[]
  readonly #passTokens: number
  /** A tensor for each number of columns, made when it is first needed. */
  readonly #tensors = new Map<number, Loaded>()

  constructor(backend: Backend, { layers, headDim }: ModelSpec, passTokens: number) {
    this.#backend = backend
    this.#widths = layers.map(({ kvHeads }) => kvHeads * headDim)
    this.#passTokens = passTokens
  }

  /** Cuts placed tokens into batches. */
  batches(placed: readonly Placed[]): PlacedBatch[] {
    const batches: { segments: Segment[]; sources: { kv: PlacedKv; from: number }[] }[] = []
    let rows = this.#passTokens
    for (const { segment, kv, from } of placed)
      for (let done = 0; done < segment.length; ) {
        if (rows === this.#passTokens) {
          batches.push({ segments: [], sources: [] })
          rows = 0
        }
        const length = Math.min(this.#passTokens - rows, segment.length - done)
        const { segments, sources } = at(batches, batches.length - 1)
        segments.push({ ...segment, start: rows, length, past: segment.past + done })
        sources.push({ kv, from: from + done })
        rows += length
        done += length
      }
    return batches
  }

  /** Returns the K and V of a batch in a layer, valid until the next call. */
  load({ segments, sources }: PlacedBatch, layer: number): { readonly k: Tensor; readonly v: Tensor } {
    const { kv, k, v } = this.#tensorOf(at(this.#widths, layer))
    for (const [index, { kv: source, from }] of sources.entries()) {
      const { start, length } = at(segments, index)
      this.#backend.write(kv, start, source.read(layer, from, from + length))
    }
    return { k, v }
  }

  #tensorOf(width: number): Loaded {
    let loaded = this.#tensors.get(width)
    if (!loaded) {
      const kv = this.#backend.tensor(this.#passTokens, 2 * width)
      const [k, v] = [0, width].map((from) => this.#backend.columns(kv, from, width)) as [Tensor, Tensor]
      loaded = { kv, k, v }
      this.#tensors.set(width, loaded)
    }
    return loaded
  }
}
