/** A sequence being continued: its tokens in the cache and the logits of the next one. */
import { idOf } from '../base/checks.ts'
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import type { Sequence } from '../kv/paged.ts'
import type { Llama } from '../model/forward.ts'
import { decodeStep } from './step.ts'

export class Session {
  readonly #model: Llama
  readonly #sequence: Sequence
  readonly #closing: AbortSignal
  #logits: Float32Array
  #released = false

  /** `closing` aborts when the engine is closed, and its session with it. */
  constructor(model: Llama, sequence: Sequence, logits: Float32Array, closing: AbortSignal) {
    this.#model = model
    this.#sequence = sequence
    this.#logits = logits
    this.#closing = closing
  }

  /** Tokens in the cache. */
  get length(): number {
    return this.#sequence.length
  }

  /** Scores of the token that comes next, (vocab). */
  get logits(): Float32Array {
    return this.#logits
  }

  /** Appends `id` and computes the logits after it. Throws `bad_argument`, `out_of_pages`, and `aborted` once it was released or the engine closed. */
  async step(id: number): Promise<Float32Array> {
    this.#checkOpen()
    try {
      this.#logits = await decodeStep(this.#model, [this.#sequence], [idOf('step', id, this.#model.config.vocab)])
    } catch (error) {
      this.#checkOpen()
      throw asForetokenError(error)
    }
    return this.#logits
  }

  /** Frees the cache. May be called twice, and after the engine was closed. */
  release(): void {
    this.#released = true
    this.#sequence.release()
  }

  #checkOpen(): void {
    if (this.#closing.aborted) throw this.#closing.reason
    if (this.#released) throw new ForetokenError('aborted', 'the session was released; prefill the prompt again')
  }
}
