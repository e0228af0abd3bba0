/** For who makes and judges predictors: what an engine's model says under other conditions than a request's. */

import { wireOf } from '../backend/capabilities.ts'
import type { ModelConfig } from '../base/model.ts'
import { type Judged, type JudgedPrefill, type Judgement, logitsAfter, logitsOfLayers } from '../evaluate/judge.ts'
import { logitsPruned, type Pruning } from '../evaluate/pruned.ts'
import { type Probe, Sensitivity } from '../evaluate/sensitivity.ts'
import { logitsSent, type Sending, type Sent, type SentEngine } from '../evaluate/sent.ts'
import { kvOfLayers, type PromptCache } from '../kv/layers.ts'
import type { Sequence } from '../kv/paged.ts'
import type { Llama, Span } from '../model/forward.ts'
import type { Prediction } from '../predict/choice.ts'
import type { PredictorFile } from '../predict/file.ts'
import type { PredictorHeader } from '../predict/plan.ts'
import { type FitEngine, type FitOptions, type FittedSource, fitSource } from './fit.ts'

/** Tokens that a sequence holds at most while a prediction is judged. */
function tokensOf({ prompt, continuations }: Judged): number {
  return prompt.length + continuations.reduce((most, { length }) => Math.max(most, length), 0)
}

export class Workbench {
  readonly #engine: FitEngine
  readonly #forward: Pick<Llama, 'passTokens' | 'forward'>
  readonly #prediction: Prediction | undefined
  readonly #residuals: SentEngine['residuals']

  constructor(
    engine: FitEngine,
    forward: Pick<Llama, 'passTokens' | 'forward'>,
    prediction: Prediction | undefined,
    residuals: SentEngine['residuals'],
  ) {
    this.#engine = engine
    this.#forward = forward
    this.#prediction = prediction
    this.#residuals = residuals
  }

  /** Logits after the prompt and along continuations, with the prompt's K and V as `how` says: how a prediction is judged. */
  logitsAfter(judged: Judged, how: JudgedPrefill = { prefill: 'exact' }): Promise<Judgement> {
    const { cache } = this.#engine
    const judge = (sequence: Sequence) => logitsAfter(this.#forward, this.#prediction, sequence, judged, how)
    return cache.borrow(judge, tokensOf(judged))
  }

  /**
   * A prompt's K and V, after RoPE, for who decodes elsewhere, and the logits behind it: (kvHeads, tokens, headDim) of each layer. `predicted`: whether any
   * of them are; a prompt that is too short to be predicted is exact.
   */
  cacheOf(prompt: readonly number[], prefill: 'exact' | 'predicted'): Promise<PromptCache> {
    const { cache, backend } = this.#engine
    return cache.borrow(async (sequence) => {
      const { logits } = await logitsAfter(
        this.#forward,
        this.#prediction,
        sequence,
        { prompt, continuations: [[0]] },
        { prefill },
      )
      const predicted = sequence.states !== undefined
      return {
        logits: logits[0]!,
        predicted,
        layers: await kvOfLayers(wireOf(backend), cache.pool, sequence.pages, prompt.length),
      }
    }, prompt.length)
  }

  /** The same of the first `layers` layers alone: what an auxiliary pass is worth without a predictor. */
  logitsOfLayers(judged: Judged, layers: number): Promise<Judgement> {
    const { model, cache } = this.#engine
    return cache.borrow((sequence) => logitsOfLayers(model, sequence, judged, layers), tokensOf(judged))
  }

  /** The same where most of the prompt's tokens are left out from some layer on. */
  logitsPruned(judged: Judged, pruning: Pruning): Promise<Judgement> {
    const { cache } = this.#engine
    return cache.borrow(async (below) => {
      const above = cache.open()
      try {
        return await logitsPruned(this.#engine, { below, above }, judged, pruning)
      } finally {
        above.release()
      }
    }, tokensOf(judged))
  }

  /**
   * What predicting some layers alone costs: a function that tells the logits along a probe's continuation, first those of exact
   * prefill and then with each block predicted. The first source of `file` maps all of them.
   */
  sensitivity(file: PredictorFile): (probe: Probe, blocks: readonly Span[]) => Promise<Float32Array[]> {
    const { model, backend, cache } = this.#engine
    const sensitivity = new Sensitivity(model, backend, file)
    return (probe, blocks) => cache.borrow((sequence) => sensitivity.logits(sequence, probe, blocks), 0)
  }

  /** The same where the prompt's K and V came over the wire, each way; with what they took. */
  logitsSent(
    judged: Judged,
    ways: readonly Sending[],
  ): Promise<{ readonly exact: readonly Float32Array[]; readonly sent: readonly Sent[] }> {
    const { model, cache, backend } = this.#engine
    return logitsSent({ model, cache, codec: wireOf(backend), residuals: this.#residuals }, judged, ways)
  }

  /** The smaller model that a separate predictor reads: its shape and its weights' identity; undefined without one. */
  get auxiliary(): { readonly config: ModelConfig; readonly identity: string } | undefined {
    return this.#engine.auxiliary?.model
  }

  /** Fits the maps of one source of a predictor for this model; `done` holds those of the sources before it. */
  fitSource(
    header: PredictorHeader,
    done: Pick<PredictorFile, 'maps' | 'gains'>,
    source: number,
    documents: AsyncIterator<readonly number[]>,
    options: FitOptions,
  ): Promise<FittedSource> {
    return fitSource(this.#engine, header, done, source, documents, options)
  }
}
