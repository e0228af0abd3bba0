/**
 * Runs predicted prefill (after KV Prediction, arXiv 2410.08391): tokens in the middle of a prompt
 * run through the base's first layers and a few later ones, and the K and V of all other layers are
 * linear maps of the states between them. One pass mixes predicted tokens with exact ones, decode
 * steps and refinement; each range of layers runs for the rows that need it:
 *
 *     layers            predicted      exact    refined
 *     0..shared - 1     run            run
 *     up to a run       maps           run      run, from kept states
 *     a run             run, bridged   run      run
 *     ...
 *
 * In a run without MLPs, predicted tokens run the attention of each layer, beside the others.
 */

import type { Backend, Tensor } from '../backend/backend.ts'
import { defined } from '../base/at.ts'
import type { Pass } from '../base/pass.ts'
import type { LoadedModel, Span } from '../model/forward.ts'
import { inexactInOrder, rowsOf } from '../pack/rows.ts'
import { inputsOf } from '../predict/header.ts'
import type { LoadedMap, LoadedSource, Predictor } from '../predict/load.ts'
import { MapWriter } from '../predict/maps.ts'
import { runsAtOnce, type SharedPlan } from '../predict/plan.ts'
import { Taps } from './taps.ts'

export class SharedWalk {
  readonly #model: LoadedModel
  readonly #backend: Backend
  readonly #predictor: Predictor
  readonly #plan: SharedPlan
  readonly #maps: MapWriter
  readonly #taps: Taps

  /** Creates the walk of a predictor with a shared plan. */
  constructor(model: LoadedModel, backend: Backend, predictor: Predictor, plan: SharedPlan) {
    this.#model = model
    this.#backend = backend
    this.#predictor = predictor
    this.#plan = plan
    this.#maps = new MapWriter(model, backend)
    this.#taps = new Taps(backend, inputsOf(predictor.header), model.config.hidden, model.passTokens)
  }

  async run(pass: Pass): Promise<void> {
    await this.#run(pass)
  }

  inputsAt(pass: Pass, source: number): Promise<Tensor> {
    return this.#run(pass, source)
  }

  /**
   * Runs up to source `last`; returns the inputs of predicted rows at the last source that was
   * reached.
   */
  async #run(pass: Pass, last = Infinity): Promise<Tensor> {
    const model = this.#model
    const count = pass.segments.length
    const { predicted = 0, refined = 0 } = pass
    const fresh: Span = { from: 0, to: count - refined }
    const exact: Span = { from: predicted, to: count }
    const middle: Span = { from: 0, to: predicted }
    const { shared } = this.#plan
    model.begin(pass)
    model.run(pass, { from: 0, to: shared }, fresh)
    await this.#keepStates(pass, fresh)
    if (predicted > 0 && !runsAtOnce(this.#plan)) model.writeOwnKv(pass, shared, middle)
    for (let index = 0; ; index++) {
      const source = defined(this.#predictor.sources[index])
      const input = await this.#input(pass, index, source, middle)
      if (index === last) return input
      this.#maps.write(pass, source, input, middle)
      model.run(pass, { from: source.at, to: source.run?.from ?? model.config.layers }, exact)
      if (!source.run) return input
      if (source.bridge) this.#cross(source.bridge, input, rowsOf(pass, middle))
      const all: Span = { from: 0, to: count }
      model.run(pass, source.run, all, source.run.mlp === false ? exact : all)
    }
  }

  /**
   * Keeps the shared states of new tokens, and copies those of refined ones to the residual stream.
   */
  async #keepStates(pass: Pass, fresh: Span): Promise<void> {
    const { states } = this.#model
    const backend = this.#backend
    for (const { states: to, start, length } of inexactInOrder(pass))
      await defined(to).append(length, () => backend.read(backend.rows(states, start), length))
    for (const { states: from, start, length, past } of pass.segments.slice(fresh.to))
      backend.write(states, start, defined(from).slice(past, past + length))
  }

  /**
   * Returns the normed states of predicted tokens and of the positions before them, (rows, (1 +
   * taps) hidden).
   */
  async #input(pass: Pass, index: number, { taps, gain }: LoadedSource, middle: Span): Promise<Tensor> {
    const { states, config } = this.#model
    const normed = (out: Tensor, from: number, rows: number) =>
      this.#backend.rmsNorm(out, this.#backend.rows(states, from), gain, config.rmsEps, rows)
    return this.#taps.gather(pass, index, taps, rowsOf(pass, middle), normed)
  }

  /** Applies a bridge to predicted tokens. */
  #cross({ weight, bias }: LoadedMap, input: Tensor, rows: number): void {
    if (rows === 0) return
    const { states } = this.#model
    this.#backend.matmulAdd(states, input, weight, rows)
    this.#backend.addBias(states, bias, rows)
  }
}
