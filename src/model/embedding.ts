/** The beginning of a model: from token ids to rows of the residual stream. */
import type { Backend, Tensor, Weight } from '../backend/backend.ts'
import type { ModelConfig, ModelSpec } from '../base/model.ts'
import type { LoadedWeights } from './load.ts'

/** The embedding (vocab, hidden): one matrix, or its first rows and, in fewer bits, the rest. */
export class Embedding {
  readonly #backend: Backend
  readonly #first: Weight
  readonly #tail: { readonly from: number; readonly weight: Weight } | undefined
  readonly #scale: number

  constructor(backend: Backend, { tailFrom }: ModelConfig, { embeddingScale }: ModelSpec, weights: LoadedWeights) {
    this.#backend = backend
    this.#first = weights.matrix('embed')
    this.#tail = tailFrom === undefined ? undefined : { from: tailFrom, weight: weights.matrix('embedTail') }
    this.#scale = embeddingScale
  }

  /** The matrices, in the order of their rows. */
  get parts(): readonly Weight[] {
    return this.#tail ? [this.#first, this.#tail.weight] : [this.#first]
  }

  /** Writes the embeddings of `ids` into the first rows of `out`. Throws `bad_argument` for an id outside the vocabulary. */
  write(out: Tensor, ids: readonly number[]): void {
    if (this.#tail) this.#writeParts(out, ids, this.#tail)
    else this.#backend.embed(out, this.#first, ids)
    if (this.#scale !== 1) this.#backend.scale(out, this.#scale, ids.length)
  }

  /** Makes one call for each stretch of ids whose rows lie in the same matrix. */
  #writeParts(out: Tensor, ids: readonly number[], tail: { readonly from: number; readonly weight: Weight }): void {
    const backend = this.#backend
    const isRare = (id: number | undefined) => id !== undefined && id >= tail.from
    for (let begin = 0; begin < ids.length; ) {
      const rare = isRare(ids[begin])
      let end = begin + 1
      while (end < ids.length && isRare(ids[end]) === rare) end++
      const stretch = ids.slice(begin, end)
      const rows = backend.rows(out, begin)
      const inTail = stretch.map((id) => id - tail.from)
      if (rare) backend.embed(rows, tail.weight, inTail)
      else backend.embed(rows, this.#first, stretch)
      begin = end
    }
  }
}
