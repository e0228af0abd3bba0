/** A sequence being continued: its tokens in the cache and the logits of the next one. */
import type { Sequence } from '../kv/paged.ts'
import type { Llama } from '../model/llama.ts'
import { decodeStep } from './step.ts'

export class Session {
  readonly #model: Llama
  readonly #sequence: Sequence
  #logits: Float32Array

  constructor(model: Llama, sequence: Sequence, logits: Float32Array) {
    this.#model = model
    this.#sequence = sequence
    this.#logits = logits
  }

  /** Tokens in the cache. */
  get length(): number {
    return this.#sequence.length
  }

  /** Scores of the token that comes next, (vocab). */
  get logits(): Float32Array {
    return this.#logits
  }

  /** Appends `id` and computes the logits after it. Throws `out_of_pages`. */
  async step(id: number): Promise<Float32Array> {
    this.#logits = await decodeStep(this.#model, [this.#sequence], [id])
    return this.#logits
  }

  /** Frees the cache. May be called twice; `step` may not be called after. */
  release(): void {
    this.#sequence.release()
  }
}
