/**
 * Measures what predicting some layers alone costs: a prompt's cache is exact except for the K and
 * V of these layers.
 */

import type { Backend, Tensor } from '../backend/backend.ts'
import { at } from '../base/at.ts'
import type { Pass } from '../base/pass.ts'
import type { Sequence } from '../kv/sequence.ts'
import type { LoadedModel, Span } from '../model/forward.ts'
import { pack } from '../pack/pack.ts'
import type { PredictorFile } from '../predict/file.ts'
import { type LoadedSource, loadPredictor } from '../predict/load.ts'
import { MapWriter } from '../predict/maps.ts'
import { type PredictorPlan, windowOf } from '../predict/plan.ts'
import { chunksOf, type Judged, logitsAfter } from './judge.ts'

/** A prompt and one continuation. */
export type Probe = Judged

export class Sensitivity {
  readonly #model: LoadedModel
  readonly #backend: Backend
  readonly #plan: PredictorPlan
  readonly #source: LoadedSource
  readonly #input: Tensor // (tokens, hidden)
  readonly #maps: MapWriter

  /**
   * The first source of `file` must map the K and V of all layers that are asked for, without taps.
   */
  constructor(model: LoadedModel, backend: Backend, file: PredictorFile) {
    this.#model = model
    this.#backend = backend
    this.#plan = file.header.plan
    this.#source = at(loadPredictor(backend, file).sources, 0)
    this.#input = backend.tensor(model.passTokens, model.config.hidden)
    this.#maps = new MapWriter(model, backend)
  }

  /**
   * Returns the logits along the probe's continuation, (continuation, vocab): first those of exact
   * prefill, then those with each of `blocks` predicted.
   */
  async logits(sequence: Sequence, { prompt, continuations }: Probe, blocks: readonly Span[]): Promise<Float32Array[]> {
    const model = this.#model
    const until = prompt.length - windowOf(this.#plan, prompt.length)
    const middle = prompt.slice(0, until)
    const inputs: Float32Array[] = []
    for (const { ids } of chunksOf(middle, model.passTokens))
      inputs.push(await this.#exact(pack([{ sequence, ids, outputs: 'none' }])))
    const { pool } = model
    const exact = await Promise.all(sequence.pages.map(async (page) => ({ page, bytes: await pool.readPage(page) })))
    const logitsNow = async () => {
      const rest = { prompt: prompt.slice(until), continuations }
      const { logits } = await logitsAfter(model, undefined, sequence, rest, { prefill: 'exact' })
      sequence.truncate(until)
      return at(logits, 0)
    }
    const all = [await logitsNow()]
    for (const block of blocks) {
      await this.#overwrite(sequence, middle, inputs, block)
      all.push(await logitsNow())
      for (const { page, bytes } of exact) pool.writePage(page, bytes)
    }
    return all
  }

  /** Runs a pass exactly. Returns the inputs of the maps, (tokens, hidden). */
  #exact(pass: Pass): Promise<Float32Array> {
    const model = this.#model
    const backend = this.#backend
    const rows = pass.ids.length
    const { at: layer, gain } = this.#source
    return model.exclusive(async () => {
      model.begin(pass)
      model.run(pass, { from: 0, to: layer })
      backend.rmsNorm(this.#input, model.states, gain, model.config.rmsEps, rows)
      model.run(pass, { from: layer, to: model.config.layers })
      return backend.read(this.#input, rows)
    })
  }

  async #overwrite(
    sequence: Sequence,
    middle: readonly number[],
    inputs: readonly Float32Array[],
    block: Span,
  ): Promise<void> {
    const model = this.#model
    const backend = this.#backend
    for (const [index, { ids }] of chunksOf(middle, model.passTokens).entries()) {
      const run = { sequence, ids, outputs: 'none', kind: 'refined', from: index * model.passTokens } as const
      const pass = pack([run])
      await model.exclusive(async () => {
        model.begin(pass)
        backend.write(this.#input, 0, at(inputs, index))
        this.#maps.write(pass, this.#source, this.#input, { from: 0, to: 1 }, block)
      })
    }
  }
}
