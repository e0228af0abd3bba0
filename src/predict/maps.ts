/** Computes K and V from states with a predictor's maps, and writes them. */

import type { Backend, Tensor } from '../backend/backend.ts'
import { at } from '../base/at.ts'
import type { Pass } from '../base/pass.ts'
import type { LoadedModel, Span } from '../model/forward.ts'
import { rowsOf } from '../pack/rows.ts'
import type { LoadedSource } from './load.ts'

export class MapWriter {
  readonly #model: LoadedModel
  readonly #backend: Backend
  readonly #out: Tensor // (tokens, 2 kvWidth)
  readonly #k: Tensor
  readonly #v: Tensor

  constructor(model: LoadedModel, backend: Backend) {
    const { kvHeads, headDim } = model.config
    const width = kvHeads * headDim
    this.#model = model
    this.#backend = backend
    this.#out = backend.tensor(model.passTokens, 2 * width)
    this.#k = backend.columns(this.#out, 0, width)
    this.#v = backend.columns(this.#out, width, width)
  }

  /**
   * Writes those of `layers` that the source maps, for the segments of a span that begins the token
   * axis. `input` holds the rows of these segments.
   */
  write(pass: Pass, source: LoadedSource, input: Tensor, segments: Span, layers: Span = this.#model.layers): void {
    const rows = rowsOf(pass, segments)
    if (rows === 0) return
    source.maps.forEach((layer, index) => {
      if (layer < layers.from || layer >= layers.to) return
      const { weight, bias } = at(source.kv, index)
      this.#backend.matmul(this.#out, input, [weight], rows)
      this.#backend.addBias(this.#out, bias, rows)
      this.#model.writeKv(pass, layer, this.#k, this.#v, segments)
    })
  }
}
