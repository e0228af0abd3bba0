/**
 * Fits a predictor's maps in closed form. Documents run through the engine twice, once as predicted
 * tokens up to a source and once exactly, and only the second moments between the two are kept.
 *
 * Sources are fitted in order, since a run's states depend on the bridge before it. Every source
 * uses fresh documents.
 */

import type { Backend, Fitting, Moments, Tensor } from '../backend/backend.ts'
import { fittingOf } from '../backend/capabilities.ts'
import { at, defined } from '../base/at.ts'
import { Callback } from '../base/callback.ts'
import { ForetokenError } from '../base/errors.ts'
import { nextTurn } from '../base/next-turn.ts'
import type { PagedCache, Sequence } from '../kv/paged.ts'
import { States } from '../kv/states.ts'
import type { LoadedModel } from '../model/forward.ts'
import { pack } from '../pack/pack.ts'
import type { LinearMap, PredictorFile } from '../predict/file.ts'
import { loadBridges } from '../predict/load.ts'
import { inputsOf, type PlanSource, type PredictorHeader, sourcesOf, stateWidth } from '../predict/plan.ts'
import { type PredictingForward, predicting } from '../prefill/open.ts'
import type { Auxiliary } from '../prefill/separate.ts'
import { quantized } from './quantize.ts'
import { Ridge } from './ridge.ts'

export interface FitOptions {
  /** Number of tokens that each source is fitted from. */
  readonly tokens: number
  /** Ridge, as a share of the inputs' mean variance. */
  readonly lambda: number
  readonly signal?: AbortSignal
  /** Called after every document, with the current source and its tokens so far. */
  readonly onProgress?: (progress: FitProgress) => void
}

export interface FitProgress {
  readonly source: number
  readonly sources: number
  readonly tokens: number
  readonly of: number
}

/** The parts of an engine that fitting needs. */
export interface FitEngine {
  readonly model: LoadedModel
  readonly cache: PagedCache
  readonly backend: Backend
  /** The smaller model of a separate plan. */
  readonly auxiliary?: Auxiliary | undefined
}

/** The fitted maps of a source by name, and the factors on their inputs. */
export interface SourceFit {
  readonly maps: ReadonlyMap<string, LinearMap>
  readonly gain: Float32Array
}

/**
 * Maximum number of tokens for measuring the spread of the inputs before anything is fitted. At
 * most an eighth of the tokens is used.
 */
const spreadTokens = 4096

/**
 * Fits the maps of source `index`; `fitted` holds those of the sources before it. `documents` are
 * token ids, and each is cut to what the cache holds. Throws `bad_argument` for data that cannot be
 * fitted, and `aborted`.
 */
export async function fitSource(
  engine: FitEngine,
  header: PredictorHeader,
  fitted: Pick<PredictorFile, 'maps' | 'gains'>,
  index: number,
  documents: AsyncIterator<readonly number[]>,
  options: FitOptions,
): Promise<SourceFit> {
  const onProgress = new Callback('onProgress', options.onProgress)
  const { backend, model } = engine
  const sources = sourcesOf(header.plan, header.layers)
  model.widen(inputsOf(header))
  const addUp = async (
    gains: readonly Float32Array[],
    sums: DocumentSums,
    tokens: number,
    onTokens: (tokens: number) => void,
  ) => {
    const forward = predicting(engine, loadBridges(backend, { header, maps: fitted.maps, gains }))
    const walk = { engine, forward, header, index, sums }
    await addDocuments(walk, documents, { ...options, tokens }, onTokens)
  }
  const before = fitted.gains.slice(0, index)
  const spread = new Spread(backend, stateWidth(header))
  await addUp(before, spread, Math.min(spreadTokens, options.tokens / 8), () => {})
  const gain = await spread.gain()
  const sums = new SourceSums(backend, at(sources, index), header)
  await addUp([...before, gain], sums, options.tokens, (tokens) =>
    onProgress.call({ source: index, sources: sources.length, tokens, of: options.tokens }),
  )
  const maps = await sums.solve(options.lambda)
  await onProgress.settle()
  return { maps, gain }
}

/** Sums over documents. */
interface DocumentSums {
  /** The layer before which the exact pass may end; 0 if it is not needed. */
  readonly end: number
  addInput(input: Tensor, states: Tensor, rows: number): void
  addLayer(layer: number, input: Tensor, kv: Tensor, from: number, rows: number): void
  addBridge(input: Tensor, states: Tensor, from: number, rows: number): void
}

/** The way of documents through an engine, up to source `index`, and the sums that they add to. */
interface Walk {
  readonly engine: FitEngine
  readonly forward: PredictingForward
  readonly header: PredictorHeader
  readonly index: number
  readonly sums: DocumentSums
}

/** Adds documents until `tokens` of them were added, or no document is left. */
async function addDocuments(
  walk: Walk,
  documents: AsyncIterator<readonly number[]>,
  { tokens, signal }: FitOptions,
  onTokens: (tokens: number) => void,
): Promise<void> {
  const { cache } = walk.engine
  const { sinks } = walk.header.plan
  for (let added = 0; added < tokens; onTokens(added)) {
    const next = await documents.next()
    if (next.done) break
    const ids = next.value.slice(0, cache.context)
    if (ids.length <= sinks) continue
    await nextTurn(signal)
    const [predicted, exact] = [cache.open(), cache.open()]
    try {
      await addDocument(walk, ids, predicted, exact)
    } finally {
      predicted.release()
      exact.release()
    }
    added += ids.length - sinks
  }
}

/**
 * Runs one document in passes: its tokens after the sinks as predicted ones up to the source, then
 * all of them exactly.
 */
async function addDocument(
  { engine: { model }, forward, header: { plan, hidden }, index, sums }: Walk,
  ids: readonly number[],
  predicted: Sequence,
  exact: Sequence,
): Promise<void> {
  predicted.predict(new States({ width: hidden, first: 0, until: ids.length, kept: false }))
  for (let from = 0; from < ids.length; from += model.passTokens) {
    const chunk = ids.slice(from, from + model.passTokens)
    const sinks = from === 0 ? Math.min(plan.sinks, chunk.length) : 0
    const runs = [
      { sequence: predicted, ids: chunk.slice(0, sinks), kind: 'exact', outputs: 'none' },
      { sequence: predicted, ids: chunk.slice(sinks), kind: 'predicted', outputs: 'none' },
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

/** Measures the spread of each input. A tap has the same spread as its own position. */
class Spread implements DocumentSums {
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
    const state = this.#backend.columns(input, 0, this.#hidden)
    this.#rows += rows
    this.#fitting.add(this.#xx, state, state, rows)
    this.#fitting.add(this.#x, this.#ones, state, rows)
  }

  addLayer(): void {}

  addBridge(): void {}

  /** Returns one over each input's standard deviation. Throws `bad_argument` without data. */
  async gain(): Promise<Float32Array> {
    if (this.#rows < 2) throw new ForetokenError('bad_argument', `${this.#rows} tokens are too few to fit anything`)
    const [xx, x] = [await this.#fitting.read(this.#xx), await this.#fitting.read(this.#x)]
    return Float32Array.from(x, (sum, i) => {
      const mean = sum / this.#rows
      return 1 / Math.sqrt(Math.max(at(xx, i * this.#hidden + i) / this.#rows - mean * mean, 1e-6))
    })
  }
}

/**
 * The moments of one source: its inputs with themselves, and with the K and V or the states to
 * predict.
 */
class SourceSums implements DocumentSums {
  readonly source: PlanSource
  readonly end: number
  readonly #backend: Backend
  readonly #fitting: Fitting
  readonly #xx: Moments
  readonly #x: Moments
  readonly #ones: Tensor
  readonly #layers = new Map<number, Target>()
  /** The run's exact inputs, and the states before the bridge. The bridge adds their difference. */
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
      const added = {
        xy: xy.map((value, i) => value - at(before.xy, i)),
        y: y.map((value, i) => value - at(before.y, i)),
      }
      maps.set(`bridges.${defined(this.source.run).from}`, quantized(ridge.solve(added)))
    }
    return maps
  }

  #add({ xy, y }: Target, input: Tensor, values: Tensor, rows: number): void {
    this.#fitting.add(xy, input, values, rows)
    this.#fitting.add(y, this.#ones, values, rows)
  }
}

/** Returns ones, (rows, 1), which turn a product into a sum. */
function onesOf(backend: Backend): Tensor {
  const ones = backend.tensor(1 << 12, 1)
  backend.write(ones, 0, new Float32Array(1 << 12).fill(1))
  return ones
}

interface Target {
  readonly xy: Moments
  readonly y: Moments
}
