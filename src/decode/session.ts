/** A sequence that a caller continues token by token, and the logits of its next token. */
import { idOf } from '../base/checks.ts'
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import type { Sequence } from '../kv/sequence.ts'
import type { LoadedModel } from '../model/forward.ts'
import { decodeStep } from './step.ts'

/** Created by `Engine.prefill`. Call `release` when done. */
export class Session {
  readonly #model: LoadedModel
  readonly #sequence: Sequence
  readonly #closing: AbortSignal
  #logits: Float32Array
  #released = false

  /** `closing` aborts when the engine is closed, which ends the session too. */
  constructor(model: LoadedModel, sequence: Sequence, logits: Float32Array, closing: AbortSignal) {
    this.#model = model
    this.#sequence = sequence
    this.#logits = logits
    this.#closing = closing
  }

  /** Number of tokens in the cache. */
  get length(): number {
    return this.#sequence.length
  }

  /** Logits of the next token, (vocab). */
  get logits(): Float32Array {
    return this.#logits
  }

  /**
   * Appends `id` and returns the logits after it, (vocab). Throws `bad_argument`, `out_of_pages`,
   * and `aborted` after the session was released or the engine was closed.
   */
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

  /** Frees the cache. May be called more than once, and after the engine was closed. */
  release(): void {
    this.#released = true
    this.#sequence.release()
  }

  #checkOpen(): void {
    if (this.#closing.aborted) throw this.#closing.reason
    if (this.#released) throw new ForetokenError('aborted', 'the session was released; prefill the prompt again')
  }
}
