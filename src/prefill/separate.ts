/**
 * Predicted prefill from another model (KV Prediction, arXiv 2410.08391, section 4): tokens in the middle of a prompt run through a
 * smaller model only, and the K and V of all layers of the base are linear maps of its states. The tokens before them run through
 * both, since the smaller model attends to them, too.
 */
import type { Backend, Tensor } from '../backend/backend.ts'
import type { PagedCache, Sequence } from '../kv/paged.ts'
import type { Llama, Span } from '../model/llama.ts'
import type { LoadedSource, Predictor } from '../model/predictor.ts'
import { pack, type Run } from '../pack/pack.ts'
import type { Pass, Segment, SequenceStates } from '../types.ts'
import { rowsOf } from './rows.ts'

/** The smaller model, with a cache of its own. */
export interface Auxiliary {
  readonly model: Llama
  readonly cache: PagedCache
}

export class SeparateForward {
  readonly predictor: Predictor
  readonly #model: Llama
  readonly #auxiliary: Auxiliary
  readonly #backend: Backend
  readonly #out: Tensor // (tokens, 2 kvWidth)
  readonly #inputs: Tensor[] = [] // (tokens, auxiliary hidden) of each source, made when it is first needed
  /** Of prompts whose predicted tokens have not all been run. */
  readonly #begun = new Map<SequenceStates, Sequence>()

  constructor(model: Llama, auxiliary: Auxiliary, backend: Backend, predictor: Predictor) {
    this.predictor = predictor
    this.#model = model
    this.#auxiliary = auxiliary
    this.#backend = backend
    const { kvHeads, headDim } = model.config
    this.#out = backend.tensor(model.passTokens, 2 * kvHeads * headDim)
  }

  get passTokens(): number {
    return this.#model.passTokens
  }

  get config(): Llama['config'] {
    return this.#model.config
  }

  /** Logits of the pass's `outputs`, (outputs, vocab). */
  forward(pass: Pass): Promise<Float32Array> {
    if (!pass.segments.some(({ states }) => states)) return this.#model.forward(pass)
    return this.#model.exclusive(async () => {
      await this.#runAuxiliary(pass, this.predictor.sources)
      await this.#runBase(pass)
      return this.#model.logits(pass.outputs)
    })
  }

  /** Runs a pass up to a source, and gives the inputs of its predicted rows there; for who fits the maps. */
  inputsAt(pass: Pass, last: number): Promise<Tensor> {
    return this.#model.exclusive(async () => {
      // The layers above are never run here, and so never attended to by the next chunk.
      await this.#runAuxiliary(pass, [this.predictor.sources[last]!])
      return this.#inputOf(last)
    })
  }

  /** Runs what is predicted, and what comes before it, through the smaller model, and keeps its normed states at some sources. */
  async #runAuxiliary(pass: Pass, sources: readonly LoadedSource[]): Promise<void> {
    const { predicted = 0, refined = 0 } = pass
    const waiting = ({ states, past }: Segment) => states !== undefined && past < states.until
    const before = pass.segments.slice(predicted, pass.segments.length - refined).filter(waiting)
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
    const input = this.#inputOf(this.predictor.sources.indexOf(source))
    if (rows > 0) this.#backend.rmsNorm(input, states, source.gain, config.rmsEps, rows)
  }

  #inputOf(source: number): Tensor {
    const { passTokens, config } = this.#auxiliary.model
    this.#inputs[source] ??= this.#backend.tensor(passTokens, config.hidden)
    return this.#inputs[source]
  }

  #runOf({ ids }: Pass, { states, start, length, past }: Segment, kind: 'exact' | 'predicted'): Run {
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
    const { predicted = 0, refined = 0 } = pass
    const count = pass.segments.length
    const middle: Span = { from: 0, to: predicted }
    model.begin(pass)
    const rows = rowsOf(pass, middle)
    this.predictor.sources.forEach((source, index) => {
      if (rows > 0) this.#writeMaps(pass, source, this.#inputOf(index), middle, rows)
    })
    model.run(pass, model.layers, { from: predicted, to: count })
    // Nothing of the base is worth keeping: refining begins with the tokens.
    for (const { states, length } of [...pass.segments.slice(0, count - refined)].sort((a, b) => a.past - b.past))
      await states?.append(length, async () => new Float32Array(0))
  }

  #writeMaps(pass: Pass, source: LoadedSource, input: Tensor, middle: Span, rows: number): void {
    const backend = this.#backend
    const width = this.#out.cols / 2
    source.maps.forEach((layer, at) => {
      const { weight, bias } = source.kv[at]!
      backend.matmul(this.#out, input, [weight], rows)
      backend.addBias(this.#out, bias, rows)
      const [k, v] = [backend.columns(this.#out, 0, width), backend.columns(this.#out, width, width)]
      this.#model.writeKv(pass, layer, k, v, middle)
    })
  }
}
