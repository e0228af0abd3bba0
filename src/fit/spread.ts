import type { Backend, Fitting, Moments, Tensor } from '../backend/backend.ts'
import { fittingOf } from '../backend/capabilities.ts'
import { at } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import { type DocumentSums, onesOf } from './document-sums.ts'

/** Measures the spread of each input. A tap has the same spread as its own position. */
export class Spread implements DocumentSums {
  readonly end = 0
  readonly #backend: Backend
  readonly #fitting: Fitting
  readonly #xx: Moments
  readonly #x: Moments
  readonly #ones: Tensor
  readonly #hidden: number
  #rows = 0

  constructor(backend: Backend, hidden: number) {
    this.#backend = backend
    this.#fitting = fittingOf(backend)
    this.#hidden = hidden
    this.#xx = this.#fitting.moments(hidden, hidden)
    this.#x = this.#fitting.moments(1, hidden)
    this.#ones = onesOf(backend)
  }

  addInput(input: Tensor, _: Tensor, rows: number): void {
    const state = this.#backend.columns(input, 0, this.#hidden)
    this.#rows += rows
    this.#fitting.add(this.#xx, state, state, rows)
    this.#fitting.add(this.#x, this.#ones, state, rows)
  }

  addLayer(): void {}

  addBridge(): void {}

  /** Returns one over each input's standard deviation. Throws `bad_argument` without data. */
  async gain(): Promise<Float32Array> {
    if (this.#rows < 2) throw new ForetokenError('bad_argument', `${this.#rows} tokens are too few to fit anything`)
    const [xx, x] = [await this.#fitting.read(this.#xx), await this.#fitting.read(this.#x)]
    return Float32Array.from(x, (sum, i) => {
      const mean = sum / this.#rows
      return 1 / Math.sqrt(Math.max(at(xx, i * this.#hidden + i) / this.#rows - mean * mean, 1e-6))
    })
  }
}
