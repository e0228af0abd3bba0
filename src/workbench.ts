/** For who makes and judges predictors: what an engine's model says under other conditions than a request's. */
import type { Backend } from './backend/backend.ts'
import { type FitOptions, type FittedSource, fitSource } from './fit/fit.ts'
import type { PagedCache } from './kv/paged.ts'
import type { Llama } from './model/llama.ts'
import type { PredictorFile } from './model/predictor-file.ts'
import type { PredictorHeader } from './model/predictor-plan.ts'
import type { Prediction } from './prefill/choice.ts'
import { type Judged, type JudgedPrefill, type Judgement, logitsAfter, logitsOfLayers } from './prefill/judge.ts'
import { logitsPruned, type Pruning } from './prefill/pruned.ts'

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

  /** Logits after the prompt and along continuations, with the prompt's K and V as `how` says: how a prediction is judged. */
  logitsAfter(judged: Judged, how: JudgedPrefill = { prefill: 'exact' }): Promise<Judgement> {
    return this.#cache.borrow((sequence) => logitsAfter(this.#forward, this.#prediction, sequence, judged, how))
  }

  /** The same of the first `layers` layers alone: what an auxiliary pass is worth without a predictor. */
  logitsOfLayers(judged: Judged, layers: number): Promise<Judgement> {
    return this.#cache.borrow((sequence) => logitsOfLayers(this.#model, sequence, judged, layers))
  }

  /** The same where most of the prompt's tokens are left out from some layer on. */
  logitsPruned(judged: Judged, pruning: Pruning): Promise<Judgement> {
    const engine = { model: this.#model, backend: this.#backend }
    return this.#cache.borrow((below) =>
      this.#cache.borrow((above) => logitsPruned(engine, { below, above }, judged, pruning)),
    )
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
