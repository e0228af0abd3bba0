/**
 * Tools for making and judging predictors: what an engine's model computes under other conditions
 * than those of a request.
 */

import { wireOf } from '../backend/capabilities.ts'
import { at } from '../base/at.ts'
import type { ModelConfig } from '../base/model.ts'
import type { Judged, JudgedPrefill, Judgement } from '../evaluate/judge.ts'
import type { Placing } from '../evaluate/placed.ts'
import type { Pruning } from '../evaluate/pruned.ts'
import { type Probe, Sensitivity } from '../evaluate/sensitivity.ts'
import type { Sending, Sent, SentEngine } from '../evaluate/sent.ts'
import type { Skipping } from '../evaluate/skipped.ts'
import { kvOfLayers, type PromptCache } from '../kv/layers.ts'
import type { Sequence } from '../kv/sequence.ts'
import { requireAlike } from '../model/config.ts'
import type { LoadedModel, Span } from '../model/forward.ts'
import { undoBalance } from '../model/key-balance.ts'
import type { Prediction } from '../predict/choice.ts'
import type { PredictorFile } from '../predict/file.ts'
import type { PredictorHeader } from '../predict/header.ts'
import type { FitEngine } from './document-walk.ts'
import type { FitOptions, SourceFit } from './fit.ts'

/** Returns the most tokens that a sequence holds while a prediction is judged. */
function tokensOf({ prompt, continuations }: Judged): number {
  return prompt.length + continuations.reduce((most, { length }) => Math.max(most, length), 0)
}

/**
 * What an engine's model computes for tools. Most of it is imported when it is used, because every
 * page and isolate loads an engine and few fit or judge one.
 */
export class Workbench {
  readonly #engine: FitEngine
  readonly #forward: Pick<LoadedModel, 'passTokens' | 'forward'>
  readonly #prediction: Prediction | undefined
  readonly #residuals: SentEngine['residuals']

  constructor(
    engine: FitEngine,
    forward: Pick<LoadedModel, 'passTokens' | 'forward'>,
    prediction: Prediction | undefined,
    residuals: SentEngine['residuals'],
  ) {
    this.#engine = engine
    this.#forward = forward
    this.#prediction = prediction
    this.#residuals = residuals
  }

  /**
   * Returns the logits after the prompt and along the continuations, with the prompt's K and V made
   * as `how` says.
   */
  async logitsAfter(judged: Judged, how: JudgedPrefill = { prefill: 'exact' }): Promise<Judgement> {
    const { logitsAfter } = await import('./tools.ts')
    const { cache } = this.#engine
    const judge = (sequence: Sequence) => logitsAfter(this.#forward, this.#prediction, sequence, judged, how)
    return cache.borrow(judge, tokensOf(judged))
  }

  /**
   * Returns a prompt's K and V after RoPE, (kvHeads, tokens, headDim) of each layer, and the logits
   * after it, for another decoder. `predicted` is true if any of them are; a prompt that is too
   * short to be predicted is exact.
   */
  async cacheOf(prompt: readonly number[], prefill: 'exact' | 'predicted'): Promise<PromptCache> {
    const { logitsAfter } = await import('./tools.ts')
    const { model, cache, backend } = this.#engine
    requireAlike(model.config, 'another decoder')
    return cache.borrow(async (sequence) => {
      const { logits } = await logitsAfter(
        this.#forward,
        this.#prediction,
        sequence,
        { prompt, continuations: [[0]] },
        { prefill },
      )
      const predicted = sequence.states !== undefined
      const layers = await kvOfLayers(wireOf(backend), cache.pool, sequence.pages, prompt.length)
      for (const [index, balance] of model.keyBalances.entries())
        if (balance) undoBalance(at(layers, index).k, balance, model.config.headDim)
      return { logits: at(logits, 0), predicted, layers }
    }, prompt.length)
  }

  /**
   * Returns the logits of the first `layers` layers alone: the value of an auxiliary pass without a
   * predictor.
   */
  async logitsOfLayers(judged: Judged, layers: number): Promise<Judgement> {
    const { logitsOfLayers } = await import('./tools.ts')
    const { model, cache } = this.#engine
    return cache.borrow((sequence) => logitsOfLayers(model, sequence, judged, layers), tokensOf(judged))
  }

  /** Returns the logits when most of the prompt's tokens are left out from some layer on. */
  async logitsPruned(judged: Judged, pruning: Pruning): Promise<Judgement> {
    const { logitsPruned } = await import('./tools.ts')
    const { cache } = this.#engine
    return cache.borrow(async (below) => {
      const above = cache.open(tokensOf(judged))
      try {
        return await logitsPruned(this.#engine, { below, above }, judged, pruning)
      } finally {
        above.release()
      }
    }, tokensOf(judged))
  }

  /** Returns the logits when some chunks of the prompt were computed alone and placed. */
  async logitsPlaced(judged: Judged, placing: Placing): Promise<Judgement> {
    const { logitsPlaced } = await import('./tools.ts')
    const { cache } = this.#engine
    return cache.borrow((sequence) => logitsPlaced(this.#engine, sequence, judged, placing), tokensOf(judged))
  }

  /**
   * Makes a baseline that skips the late layers. Returns a function that gives the logits when all
   * of the prompt but its first 4 and its last `window` tokens skip them. A number is the first
   * skipped layer of POP, which makes K and V with the layers' own weights; a file holds SwiftKV's
   * maps.
   */
  async skipping(layers: number | PredictorFile): Promise<(judged: Judged, window: number) => Promise<Judgement>> {
    const { pop, swiftKv } = await import('./tools.ts')
    const { cache } = this.#engine
    const skipping: Skipping = typeof layers === 'number' ? pop(this.#engine, layers) : swiftKv(this.#engine, layers)
    return (judged, window) => cache.borrow((sequence) => skipping(sequence, judged, window), tokensOf(judged))
  }

  /**
   * Measures what predicting some layers alone costs. Returns a function that gives the logits
   * along a probe's continuation, first those of exact prefill and then those with each block
   * predicted. The first source of `file` must map all of these layers.
   */
  sensitivity(file: PredictorFile): (probe: Probe, blocks: readonly Span[]) => Promise<Float32Array[]> {
    const { model, backend, cache } = this.#engine
    const sensitivity = new Sensitivity(model, backend, file)
    return (probe, blocks) => cache.borrow((sequence) => sensitivity.logits(sequence, probe, blocks), tokensOf(probe))
  }

  /**
   * Returns the logits when the prompt's K and V came over the wire, for each way of sending, with
   * bytes and times.
   */
  async logitsSent(
    judged: Judged,
    ways: readonly Sending[],
  ): Promise<{ readonly exact: readonly Float32Array[]; readonly sent: readonly Sent[] }> {
    const { logitsSent } = await import('./tools.ts')
    const { model, cache, backend } = this.#engine
    return logitsSent({ model, cache, codec: wireOf(backend), residuals: this.#residuals }, judged, ways)
  }

  /**
   * The smaller model that a separate predictor reads: its shape and the identity of its weights.
   * Undefined without one.
   */
  get auxiliary(): { readonly config: ModelConfig; readonly identity: string } | undefined {
    return this.#engine.auxiliary?.model
  }

  /**
   * Fits the maps of one source of a predictor for this model. `fitted` holds those of the sources
   * before it.
   */
  async fitSource(
    header: PredictorHeader,
    fitted: Pick<PredictorFile, 'maps' | 'gains'>,
    source: number,
    documents: AsyncIterator<readonly number[]>,
    options: FitOptions,
  ): Promise<SourceFit> {
    const { fitSource } = await import('./tools.ts')
    return fitSource(this.#engine, header, fitted, source, documents, options)
  }
}
