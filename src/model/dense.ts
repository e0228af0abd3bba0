/** Runs the dense layers that make the vector of a text of its pooled state. */
import type { Backend, Tensor, Weight } from '../backend/backend.ts'
import { at } from '../base/at.ts'
import type { ModelConfig } from '../base/model.ts'
import { denseBuffers } from './layer.ts'
import type { LoadedWeights } from './load.ts'
import { denseNames } from './weights.ts'

export class DenseLayers {
  readonly #backend: Backend
  readonly #weights: readonly Weight[]
  /** The input, then the output of each layer, (rows, width). */
  readonly #buffers: readonly Tensor[]

  constructor(backend: Backend, config: ModelConfig, weights: LoadedWeights) {
    this.#backend = backend
    this.#weights = (config.dense ?? []).map((_, index) => weights.matrix(denseNames(index).name))
    this.#buffers = denseBuffers(config).map(([rows, cols]) => backend.tensor(rows, cols))
  }

  /** Returns the vectors of these states, (hidden) each; without layers the states themselves. */
  async run(states: readonly Float32Array[]): Promise<readonly Float32Array[]> {
    const [input] = this.#buffers
    if (!input) return states
    const vectors: Float32Array[] = []
    for (let first = 0; first < states.length; first += input.rows)
      vectors.push(...(await this.#some(states.slice(first, first + input.rows))))
    return vectors
  }

  /** Does the same for at most as many states as the buffers have rows. */
  async #some(states: readonly Float32Array[]): Promise<Float32Array[]> {
    const backend = this.#backend
    const count = states.length
    states.forEach((state, row) => {
      backend.write(at(this.#buffers, 0), row, state)
    })
    this.#weights.forEach((weight, index) => {
      backend.matmul(at(this.#buffers, index + 1), at(this.#buffers, index), [weight], count)
    })
    const out = at(this.#buffers, this.#weights.length)
    const values = await backend.read(out, count)
    return states.map((_, row) => values.slice(row * out.cols, (row + 1) * out.cols))
  }
}
