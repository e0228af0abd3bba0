/**
 * Predicted prefill from another model (KV Prediction, arXiv 2410.08391, section 4): tokens in the middle of a prompt run through a
 * smaller model only, and the K and V of all layers of the base are linear maps of its states. The tokens before them run through
 * both, since the smaller model attends to them, too.
 */
import type { Backend, Tensor } from '../backend/backend.ts'
import type { Pass, Segment, SequenceStates } from '../base/pass.ts'
import type { PagedCache, Sequence } from '../kv/paged.ts'
import type { Llama } from '../model/forward.ts'
import { type Chunk, pack } from '../pack/pack.ts'
import { freshOf, inexactInOrder, rowsOf } from '../pack/rows.ts'
import type { LoadedSource, Predictor } from '../predict/load.ts'
import { MapWriter } from '../predict/maps.ts'

/** The smaller model, with a cache of its own. */
export interface Auxiliary {
  readonly model: Llama
  readonly cache: PagedCache
}

export class SeparateWalk {
  readonly #model: Llama
  readonly #auxiliary: Auxiliary
  readonly #backend: Backend
  readonly #sources: readonly LoadedSource[]
  readonly #maps: MapWriter
  readonly #inputs: Tensor[] = [] // (tokens, auxiliary hidden) of each source, made when it is first needed
  /** Of prompts whose predicted tokens have not all been run. */
  readonly #begun = new Map<SequenceStates, Sequence>()

  constructor(model: Llama, auxiliary: Auxiliary, backend: Backend, { sources }: Predictor) {
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

  /** Layers above the source are never run here, and so never attended to by the next chunk. */
  async inputsAt(pass: Pass, source: number): Promise<Tensor> {
    await this.#runAuxiliary(pass, [this.#sources[source]!])
    return this.#inputOf(source)
  }

  /** Runs what is predicted, and what comes before it, through the smaller model, and keeps its normed states at some sources. */
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
      if (past + length >= states!.until) this.#end(states!)
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

  #runOf({ ids }: Pass, { states, start, length, past }: Segment, kind: 'exact' | 'predicted'): Chunk {
    let sequence = this.#begun.get(states!)
    if (!sequence) {
      sequence = this.#auxiliary.cache.open()
      this.#begun.set(states!, sequence)
      states!.onRelease = () => this.#end(states!)
    }
    // A pass that failed is run again from where the base stands.
    sequence.truncate(Math.min(sequence.length, past))
    return { sequence, ids: ids.slice(start, start + length), outputs: 'none', kind }
  }

  #end(states: SequenceStates): void {
    this.#begun.get(states)?.release()
    this.#begun.delete(states)
  }

  /** The base: predicted rows get their K and V, all others run through all layers. */
  async #runBase(pass: Pass): Promise<void> {
    const model = this.#model
    const { predicted = 0, segments } = pass
    model.begin(pass)
    for (const [index, source] of this.#sources.entries())
      this.#maps.write(pass, source, this.#inputOf(index), { from: 0, to: predicted })
    model.run(pass, model.layers, { from: predicted, to: segments.length })
    // Nothing of the base is worth keeping: refining begins with the tokens.
    for (const { states, length } of inexactInOrder(pass)) await states!.append(length, async () => new Float32Array(0))
  }
}
