/**
 * Runs predicted prefill from another model (KV Prediction, arXiv 2410.08391, section 4): tokens in
 * the middle of a prompt run through a smaller model alone, and the K and V of all layers of the
 * base are linear maps of its states. The tokens before them run through both, since the smaller
 * model attends to them, too.
 */

import type { Backend, Tensor } from '../backend/backend.ts'
import { defined } from '../base/at.ts'
import type { Pass, Segment, SequenceStates } from '../base/pass.ts'
import type { PagedCache } from '../kv/paged.ts'
import type { Sequence } from '../kv/sequence.ts'
import type { LoadedModel } from '../model/forward.ts'
import { type Chunk, pack } from '../pack/pack.ts'
import { freshOf, inexactInOrder, rowsOf } from '../pack/rows.ts'
import type { LoadedSource, Predictor } from '../predict/load.ts'
import { MapWriter } from '../predict/maps.ts'

/** The smaller model, with a cache of its own. */
export interface Auxiliary {
  readonly model: LoadedModel
  readonly cache: PagedCache
}

export class SeparateWalk {
  readonly #model: LoadedModel
  readonly #auxiliary: Auxiliary
  readonly #backend: Backend
  readonly #sources: readonly LoadedSource[]
  readonly #maps: MapWriter
  readonly #inputs: Tensor[] = [] // (tokens, auxiliary hidden) of each source, made when it is first needed
  /** The smaller model's sequences, for prompts whose predicted tokens have not all been run. */
  readonly #begun = new Map<SequenceStates, Sequence>()

  constructor(model: LoadedModel, auxiliary: Auxiliary, backend: Backend, { sources }: Predictor) {
    this.#model = model
    this.#auxiliary = auxiliary
    this.#backend = backend
    this.#sources = sources
    this.#maps = new MapWriter(model, backend)
  }

  async run(pass: Pass): Promise<void> {
    await this.#runAuxiliary(pass, this.#sources)
    await this.#runBase(pass)
  }

  /**
   * Runs up to the source. Layers above it are never run here, so no later chunk attends to them.
   */
  async inputsAt(pass: Pass, source: number): Promise<Tensor> {
    await this.#runAuxiliary(pass, [defined(this.#sources[source])])
    return this.#inputOf(source)
  }

  /**
   * Runs predicted rows and those before them through the smaller model, and keeps its normed
   * states at some sources.
   */
  async #runAuxiliary(pass: Pass, sources: readonly LoadedSource[]): Promise<void> {
    const { predicted = 0 } = pass
    const waiting = ({ states, past }: Segment) => states !== undefined && past < states.until
    const before = freshOf(pass).slice(predicted).filter(waiting)
    const middle = pass.segments.slice(0, predicted)
    const runs = [
      ...before.map((segment) => this.#runOf(pass, segment, 'exact')),
      ...middle.map((segment) => this.#runOf(pass, segment, 'predicted')),
    ]
    if (runs.length === 0) return
    const { model } = this.#auxiliary
    const part = pack(runs)
    await model.exclusive(async () => {
      model.begin(part)
      let at = 0
      for (const source of sources) {
        model.run(part, { from: at, to: source.at })
        at = source.at
        this.#normed(source, part)
      }
    })
    for (const { states, past, length } of [...before, ...middle])
      if (states && past + length >= states.until) this.#end(states)
  }

  #normed(source: LoadedSource, part: Pass): void {
    const rows = rowsOf(part, { from: 0, to: part.predicted ?? 0 })
    const { states, config } = this.#auxiliary.model
    const input = this.#inputOf(this.#sources.indexOf(source))
    if (rows > 0) this.#backend.rmsNorm(input, states, source.gain, config.rmsEps, rows)
  }

  #inputOf(source: number): Tensor {
    const { passTokens, config } = this.#auxiliary.model
    this.#inputs[source] ??= this.#backend.tensor(passTokens, config.hidden)
    return this.#inputs[source]
  }

  #runOf({ ids }: Pass, segment: Segment, kind: 'exact' | 'predicted'): Chunk {
    const { start, length, past } = segment
    const states = defined(segment.states)
    let sequence = this.#begun.get(states)
    if (!sequence) {
      sequence = this.#auxiliary.cache.open(states.until)
      this.#begun.set(states, sequence)
      states.onRelease = () => this.#end(states)
    }
    // After a failed pass, the smaller model runs again from the length of the base.
    sequence.truncate(Math.min(sequence.length, past))
    return { sequence, ids: ids.slice(start, start + length), outputs: 'none', kind }
  }

  #end(states: SequenceStates): void {
    this.#begun.get(states)?.release()
    this.#begun.delete(states)
  }

  /** Runs the base: predicted rows get mapped K and V, and all others run through all layers. */
  async #runBase(pass: Pass): Promise<void> {
    const model = this.#model
    const { predicted = 0, segments } = pass
    model.begin(pass)
    for (const [index, source] of this.#sources.entries())
      this.#maps.write(pass, source, this.#inputOf(index), { from: 0, to: predicted })
    model.run(pass, model.layers, { from: predicted, to: segments.length })
    // No states of the base are kept, since refining begins with the tokens.
    for (const { states, length } of inexactInOrder(pass))
      await defined(states).append(length, async () => new Float32Array(0))
  }
}
