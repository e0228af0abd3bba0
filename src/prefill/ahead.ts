/**
 * Predicts the K and V of a prompt without an answer. A `residual` stream corrects them, so both of
 * its ends compute them.
 */

import { nextTurn } from '../base/next-turn.ts'
import type { PagedCache } from '../kv/paged.ts'
import type { Sequence } from '../kv/sequence.ts'
import type { LoadedModel } from '../model/forward.ts'
import { pack } from '../pack/pack.ts'
import type { Prediction } from '../predict/choice.ts'

export interface Ahead {
  readonly forward: Pick<LoadedModel, 'passTokens' | 'forward'>
  readonly prediction: Prediction
  readonly cache: PagedCache
}

export class PredictedPrompt {
  readonly sequence: Sequence
  readonly #ahead: Ahead
  readonly #ids: readonly number[]
  #running: Promise<void> = Promise.resolve()

  /**
   * Starts after `held`, exact pages of the prompt that are in use. The prompt must be one that
   * `Prediction.predicts`.
   */
  constructor(ahead: Ahead, ids: readonly number[], held: readonly number[]) {
    this.#ahead = ahead
    this.#ids = ids
    this.sequence = ahead.cache.open(ids.length)
    this.sequence.adopt(held)
    ahead.prediction.begin(this.sequence, ids.length, 'predicted')
  }

  /** Runs passes until the tokens before `to` have K and V. Throws `out_of_pages`. */
  ready(to: number): Promise<void> {
    this.#running = this.#running.then(() => this.#run(to))
    return this.#running
  }

  release(): void {
    this.sequence.release()
  }

  async #run(to: number): Promise<void> {
    const { forward, prediction } = this.#ahead
    for (let at = this.sequence.length; at < to; at = this.sequence.length) {
      const ids = this.#ids.slice(at, Math.min(at + forward.passTokens, this.#ids.length))
      await forward.forward(pack(prediction.chunks(this.sequence, ids, 'none')))
      await nextTurn()
    }
  }
}
