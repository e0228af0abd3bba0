/**
 * Fits a predictor's maps in closed form: documents run through the engine twice, once as predicted tokens up to a source and
 * once exactly, and the second moments between the two are all that is kept.
 *
 * Sources are fitted in order, since a run's states depend on the bridge before it. Every source takes fresh documents.
 */
import type { Backend, Fitting, Moments, Tensor } from '../backend/backend.ts'
import { fittingOf } from '../backend/capabilities.ts'
import { Callback } from '../base/callback.ts'
import { ForetokenError } from '../base/errors.ts'
import { nextTurn } from '../base/turn.ts'
import type { PagedCache, Sequence } from '../kv/paged.ts'
import { States } from '../kv/states.ts'
import type { Llama } from '../model/forward.ts'
import { pack } from '../pack/pack.ts'
import type { LinearMap, PredictorFile } from '../predict/file.ts'
import { loadBridges } from '../predict/load.ts'
import { inputsOf, type PlanSource, type PredictorHeader, sourcesOf, stateWidth } from '../predict/plan.ts'
import { type PredictingForward, predicting } from '../prefill/open.ts'
import type { Auxiliary } from '../prefill/separate.ts'
import { quantized } from './quantize.ts'
import { Ridge } from './ridge.ts'

export interface FitOptions {
  /** Tokens to fit each source from. */
  readonly tokens: number
  /** Ridge, as a share of the inputs' mean variance. */
  readonly lambda: number
  readonly signal?: AbortSignal
  /** Called after every document, with the source at hand and its tokens so far. */
  readonly onProgress?: (progress: FitProgress) => void
}

export interface FitProgress {
  readonly source: number
  readonly sources: number
  readonly tokens: number
  readonly of: number
}

/** What fitting needs of an engine. */
export interface FitEngine {
  readonly model: Llama
  readonly cache: PagedCache
  readonly backend: Backend
  /** The smaller model of a separate plan. */
  readonly auxiliary?: Auxiliary | undefined
}

/** What one source's fit gives. */
export interface FittedSource {
  readonly maps: ReadonlyMap<string, LinearMap>
  readonly gain: Float32Array
}

/** Tokens that the spread of the inputs is measured on, before anything is fitted: an eighth as many, at most this. */
const spreadTokens = 4096

/**
 * Fits the maps of source `index`; `done` holds those of the sources before it. `documents` are token ids, each of them cut to what
 * the cache holds. Throws `bad_argument` for data that can't be fitted, `aborted`.
 */
export async function fitSource(
  engine: FitEngine,
  header: PredictorHeader,
  done: Pick<PredictorFile, 'maps' | 'gains'>,
  index: number,
  documents: AsyncIterator<readonly number[]>,
  options: FitOptions,
): Promise<FittedSource> {
  const onProgress = new Callback('onProgress', options.onProgress)
  const { backend, model } = engine
  const sources = sourcesOf(header.plan, header.layers)
  const source = sources[index]!
  model.widen(inputsOf(header))
  const through = async (
    gains: readonly Float32Array[],
    sums: Sums,
    tokens: number,
    onTokens: (taken: number) => void,
  ) => {
    const file = { header, maps: done.maps, gains }
    const forward = predicting(engine, loadBridges(backend, file))
    await addDocuments(engine, forward, header, index, documents, sums, { ...options, tokens }, onTokens)
  }
  const before = done.gains.slice(0, index)
  const spread = new Spread(backend, stateWidth(header))
  await through(before, spread, Math.min(spreadTokens, options.tokens / 8), () => {})
  const gain = await spread.gain()
  const sums = new SourceSums(backend, source, header)
  await through([...before, gain], sums, options.tokens, (tokens) =>
    onProgress.call({ source: index, sources: sources.length, tokens, of: options.tokens }),
  )
  const maps = await sums.solve(options.lambda)
  await onProgress.settle()
  return { maps, gain }
}

/** What is added up over documents. */
interface Sums {
  /** Layers that the exact pass must run; 0 if it is not needed. */
  readonly end: number
  addInput(input: Tensor, states: Tensor, rows: number): void
  addLayer(layer: number, input: Tensor, kv: Tensor, from: number, rows: number): void
  addBridge(input: Tensor, states: Tensor, from: number, rows: number): void
}

async function addDocuments(
  engine: FitEngine,
  forward: PredictingForward,
  header: PredictorHeader,
  index: number,
  documents: AsyncIterator<readonly number[]>,
  sums: Sums,
  { tokens, signal }: FitOptions,
  onTokens: (taken: number) => void,
): Promise<void> {
  const { cache } = engine
  for (let taken = 0; taken < tokens; onTokens(taken)) {
    const next = await documents.next()
    if (next.done) break
    const ids = next.value.slice(0, cache.context)
    if (ids.length <= header.plan.sinks) continue
    await nextTurn(signal)
    const [walked, exact] = [cache.open(), cache.open()]
    try {
      await addDocument(engine, forward, header, index, ids, walked, exact, sums)
    } finally {
      walked.release()
      exact.release()
    }
    taken += ids.length - header.plan.sinks
  }
}

/** One document, in passes: its tokens behind the sinks as predicted ones up to the source, then all of it exactly. */
async function addDocument(
  { model }: FitEngine,
  forward: PredictingForward,
  { plan, hidden }: PredictorHeader,
  index: number,
  ids: readonly number[],
  walked: Sequence,
  exact: Sequence,
  sums: Sums,
): Promise<void> {
  walked.predict(new States({ width: hidden, first: 0, until: ids.length, kept: false }))
  for (let at = 0; at < ids.length; at += model.passTokens) {
    const chunk = ids.slice(at, at + model.passTokens)
    const sinks = at === 0 ? Math.min(plan.sinks, chunk.length) : 0
    const runs = [
      { sequence: walked, ids: chunk.slice(0, sinks), kind: 'exact', outputs: 'none' },
      { sequence: walked, ids: chunk.slice(sinks), kind: 'predicted', outputs: 'none' },
    ] as const
    const rows = chunk.length - sinks
    const input = await forward.inputsAt(pack(runs.filter(({ ids }) => ids.length > 0)), index)
    sums.addInput(input, model.states, rows)
    if (sums.end === 0) continue
    const pass = pack([{ sequence: exact, ids: chunk, outputs: 'none' }])
    await model.exclusive(async () => {
      model.begin(pass)
      model.runWatched(pass, { from: 0, to: sums.end }, (layer, kv) => sums.addLayer(layer, input, kv, sinks, rows))
      sums.addBridge(input, model.states, sinks, rows)
    })
  }
}

/** How far each input spreads: its own position's are those of all taps. */
class Spread implements Sums {
  readonly end = 0
  readonly #backend: Backend
  readonly #fitting: Fitting
  readonly #xx: Moments
  readonly #x: Moments
  readonly #ones: Tensor
  readonly #hidden: number
  #rows = 0

  constructor(backend: Backend, hidden: number) {
    this.#backend = backend
    this.#fitting = fittingOf(backend)
    this.#hidden = hidden
    this.#xx = this.#fitting.moments(hidden, hidden)
    this.#x = this.#fitting.moments(1, hidden)
    this.#ones = onesOf(backend)
  }

  addInput(input: Tensor, _: Tensor, rows: number): void {
    const own = this.#backend.columns(input, 0, this.#hidden)
    this.#rows += rows
    this.#fitting.add(this.#xx, own, own, rows)
    this.#fitting.add(this.#x, this.#ones, own, rows)
  }

  addLayer(): void {}

  addBridge(): void {}

  /** One over each input's deviation. Throws `bad_argument` without data. */
  async gain(): Promise<Float32Array> {
    if (this.#rows < 2) throw new ForetokenError('bad_argument', `${this.#rows} tokens are too few to fit anything`)
    const [xx, x] = [await this.#fitting.read(this.#xx), await this.#fitting.read(this.#x)]
    return Float32Array.from(x, (sum, i) => {
      const mean = sum / this.#rows
      return 1 / Math.sqrt(Math.max(xx[i * this.#hidden + i]! / this.#rows - mean * mean, 1e-6))
    })
  }
}

/** Sums of one source: its inputs with themselves, and with the K and V or the states that are to be predicted. */
class SourceSums implements Sums {
  readonly source: PlanSource
  readonly end: number
  readonly #backend: Backend
  readonly #fitting: Fitting
  readonly #xx: Moments
  readonly #x: Moments
  readonly #ones: Tensor
  readonly #layers = new Map<number, Target>()
  /** The run's exact inputs, and the states before the bridge: what the bridge adds is their difference. */
  readonly #after: Target | undefined
  readonly #before: Target | undefined
  #rows = 0

  constructor(backend: Backend, source: PlanSource, header: PredictorHeader) {
    const { hidden, kv_width } = header
    const fitting = fittingOf(backend)
    this.#backend = backend
    this.#fitting = fitting
    this.source = source
    this.end = source.run?.from ?? Math.max(-1, ...source.maps) + 1
    const k = (1 + source.taps) * stateWidth(header)
    const target = (n: number) => ({ xy: fitting.moments(k, n), y: fitting.moments(1, n) })
    this.#xx = fitting.moments(k, k)
    this.#x = fitting.moments(1, k)
    for (const layer of source.maps) this.#layers.set(layer, target(2 * kv_width))
    if (source.run) [this.#after, this.#before] = [target(hidden), target(hidden)]
    this.#ones = onesOf(backend)
  }

  addInput(input: Tensor, states: Tensor, rows: number): void {
    this.#rows += rows
    this.#fitting.add(this.#xx, input, input, rows)
    this.#fitting.add(this.#x, this.#ones, input, rows)
    if (this.#before) this.#add(this.#before, input, states, rows)
  }

  addLayer(layer: number, input: Tensor, kv: Tensor, from: number, rows: number): void {
    const target = this.#layers.get(layer)
    if (target) this.#add(target, input, this.#backend.rows(kv, from), rows)
  }

  addBridge(input: Tensor, states: Tensor, from: number, rows: number): void {
    if (this.#after) this.#add(this.#after, input, this.#backend.rows(states, from), rows)
  }

  async solve(lambda: number): Promise<Map<string, LinearMap>> {
    const read = (sums: Moments) => this.#fitting.read(sums)
    const ridge = new Ridge({ rows: this.#rows, xx: await read(this.#xx), x: await read(this.#x) }, lambda)
    const maps = new Map<string, LinearMap>()
    for (const [layer, { xy, y }] of this.#layers)
      maps.set(`layers.${layer}`, quantized(ridge.solve({ xy: await read(xy), y: await read(y) })))
    if (this.#after && this.#before) {
      const [xy, y] = [await read(this.#after.xy), await read(this.#after.y)]
      const before = { xy: await read(this.#before.xy), y: await read(this.#before.y) }
      const added = { xy: xy.map((value, i) => value - before.xy[i]!), y: y.map((value, i) => value - before.y[i]!) }
      maps.set(`bridges.${this.source.run!.from}`, quantized(ridge.solve(added)))
    }
    return maps
  }

  #add({ xy, y }: Target, input: Tensor, values: Tensor, rows: number): void {
    this.#fitting.add(xy, input, values, rows)
    this.#fitting.add(y, this.#ones, values, rows)
  }
}

/** (rows, 1): what turns a product into a sum. */
function onesOf(backend: Backend): Tensor {
  const ones = backend.tensor(1 << 12, 1)
  backend.write(ones, 0, new Float32Array(1 << 12).fill(1))
  return ones
}

interface Target {
  readonly xy: Moments
  readonly y: Moments
}
