/** For who makes and judges predictors: what an engine's model says under other conditions than a request's. */
import type { Backend } from './backend/backend.ts'
import { type FitOptions, type FittedSource, fitSource } from './fit/fit.ts'
import type { PagedCache } from './kv/paged.ts'
import type { Llama } from './model/llama.ts'
import type { PredictorFile } from './model/predictor-file.ts'
import type { PredictorHeader } from './model/predictor-plan.ts'
import type { Prediction } from './prefill/choice.ts'
import { logitsAfter, logitsOfLayers } from './prefill/judge.ts'

export class Workbench {
  readonly #model: Llama
  readonly #cache: PagedCache
  readonly #backend: Backend
  readonly #forward: Pick<Llama, 'passTokens' | 'forward'>
  readonly #prediction: Prediction | undefined

  constructor(
    engine: { readonly model: Llama; readonly cache: PagedCache; readonly backend: Backend },
    forward: Pick<Llama, 'passTokens' | 'forward'>,
    prediction: Prediction | undefined,
  ) {
    this.#model = engine.model
    this.#cache = engine.cache
    this.#backend = engine.backend
    this.#forward = forward
    this.#prediction = prediction
  }

  /**
   * Logits after the prompt and after each token of a given continuation but its last, (continuation, vocab), with the prompt's K
   * and V as `prefill` says: how a prediction is judged. At most one pass of continuation.
   */
  logitsAfter(
    prompt: readonly number[],
    continuation: readonly number[],
    prefill: 'exact' | 'predicted' = 'exact',
  ): Promise<Float32Array> {
    return this.#cache.borrow((sequence) =>
      logitsAfter(this.#forward, this.#prediction, sequence, { prompt, continuation, prefill }),
    )
  }

  /** The same as `logitsAfter` says of the first `layers` layers alone. */
  logitsOfLayers(prompt: readonly number[], continuation: readonly number[], layers: number): Promise<Float32Array> {
    return this.#cache.borrow((sequence) => logitsOfLayers(this.#model, sequence, { prompt, continuation }, layers))
  }

  /** Fits the maps of one source of a predictor for this model; `done` holds those of the sources before it. */
  fitSource(
    header: PredictorHeader,
    done: Pick<PredictorFile, 'maps' | 'gains'>,
    source: number,
    documents: AsyncIterator<readonly number[]>,
    options: FitOptions,
  ): Promise<FittedSource> {
    const engine = { model: this.#model, cache: this.#cache, backend: this.#backend }
    return fitSource(engine, header, done, source, documents, options)
  }
}
