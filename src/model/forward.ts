/**
 * Runs models by their recipes (`ModelSpec`); it does not know families.
 *
 * A pass is any mixture of prompts, chunks and decode steps on one flat token axis. Products run
 * over all tokens at once; attention runs segment by segment over its own pages.
 */
import type { Backend, Scores, Tensor } from '../backend/backend.ts'
import { at } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import { type KvPool, pageLayout } from '../base/kv.ts'
import type { ModelArchive, ModelConfig, ModelSpec, RopeSpec } from '../base/model.ts'
import type { Pass, Segment } from '../base/pass.ts'
import { requireAlike, withoutAnswers } from './config.ts'
import { DenseLayers } from './dense.ts'
import { Embedding } from './embedding.ts'
import { Exclusive } from './exclusive.ts'
import { specOf } from './families/index.ts'
import { Head, type Lending } from './head.ts'
import { type KeyBalance, keyBalance } from './key-balance.ts'
import {
  type AttentionLayer,
  activationBytes,
  buffersOf,
  type Layer,
  layersOf,
  limitsOf,
  poolSpecOf,
  projectedColumns,
  requireKeysAndValues,
  requireWholeContext,
  ropesOf,
  seesBothWays,
} from './layer.ts'
import { LayerRunner, type Rows } from './layer-runner.ts'
import { expectWeights, type LoadedWeights, loadWeights } from './load.ts'
import type { ModelOptions } from './model-options.ts'
import { PlacedWriter } from './placed.ts'

/** Layers or segments `from`..`to` - 1. */
export interface Span {
  readonly from: number
  readonly to: number
}

/** A model in a backend, ready to run passes. */
export class LoadedModel {
  readonly config: ModelConfig
  /** Distinguishes this model's weights from others of the same shapes. */
  readonly identity: string
  readonly passTokens: number
  /** Whether tokens see those behind them, so that a text is read in one pass and has no next token. */
  readonly bothWays: boolean
  readonly pool: KvPool
  /** How pages hold K, by layer; undefined for layers whose K is stored unchanged. */
  readonly keyBalances: readonly (KeyBalance | undefined)[]
  readonly #backend: Backend
  readonly #spec: ModelSpec
  readonly #embedding: Embedding
  readonly #layers: readonly Layer[]
  readonly #runner: LayerRunner
  readonly #head: Head
  readonly #dense: DenseLayers
  readonly #ropes: readonly RopeSpec[]
  readonly #x: Tensor // (tokens, hidden): the residual stream
  readonly #h: Tensor // (tokens, max(hidden, heads * headDim)): normed input, then attention output or MLP output
  readonly #qkv: Tensor // (tokens, (heads + 2 kvHeads) * headDim), or 3 hidden if a layer is a convolution
  readonly #gateUp: Tensor // (tokens, 2 intermediate); the same memory, since the two never live at once
  readonly #aside: Tensor // (tokens, hidden) of the same memory: what attention adds, if it is not added at once
  readonly #placed: PlacedWriter
  readonly #activations = new Exclusive()

  /**
   * Reads the weights and allocates all buffers. Throws `bad_model`, `out_of_memory`, and
   * `unsupported` for a recipe that the backend does not compute and for a predictor if layers
   * differ.
   */
  static async load(backend: Backend, archive: ModelArchive, options: ModelOptions): Promise<LoadedModel> {
    const { config } = archive
    const spec = LoadedModel.expect(backend, archive, options)
    const { passTokens: tokens, inputs = 0, pageEntries } = options
    backend.prepare(limitsOf(config, spec, { tokens, inputs, pageEntries }))
    return new LoadedModel(backend, archive, spec, await loadWeights(backend, archive, options), options)
  }

  /** Checks what `load` checks before it reads weights, and returns the recipe. Throws what that throws. */
  static expect(backend: Backend, archive: ModelArchive, options: ModelOptions): ModelSpec {
    const { config } = archive
    const spec = options.spec ?? specOf(config)
    if (options.inputs) requireAlike(config, 'a predictor')
    const { firstPages = 0, kv } = options
    const pages = firstPages * pageLayout(spec, kv).bytes
    expectWeights(backend, archive, activationBytes(config, spec, options) + pages)
    return spec
  }

  private constructor(
    backend: Backend,
    archive: ModelArchive,
    spec: ModelSpec,
    weights: LoadedWeights,
    options: ModelOptions,
  ) {
    const { config, tokenless } = archive
    const { hidden, intermediate } = config
    this.config = config
    this.identity = weights.identity
    this.passTokens = options.passTokens
    this.#backend = backend
    this.#embedding = new Embedding(backend, config, spec, weights)
    this.#spec = spec
    this.bothWays = seesBothWays(spec)
    this.#dense = new DenseLayers(backend, config, weights)
    this.keyBalances = spec.layers.map(({ biases }, index) => {
      const bias = biases.qkv ? weights.keyBiases.get(`layers.${index}.kBias`) : undefined
      return bias && keyBalance(bias, config)
    })
    this.#layers = layersOf(backend, spec, weights, this.keyBalances)
    this.#ropes = ropesOf(spec)
    const buffers = buffersOf(config, spec, options)
    this.#x = backend.tensor(...buffers.x)
    this.#h = backend.tensor(...buffers.h)
    const wide = backend.tensor(...buffers.wide)
    this.#qkv = backend.columns(wide, 0, projectedColumns(config, spec))
    this.#gateUp = backend.columns(wide, 0, 2 * intermediate)
    this.#aside = wide.cols < hidden ? wide : backend.columns(wide, 0, hidden)
    this.#head = new Head({
      backend,
      archive: { config, tokenless },
      spec,
      norm: weights.vector('norm'),
      weights: config.tiedEmbedding ? this.#embedding.parts : [weights.matrix('head')],
      last: backend.tensor(...buffers.last),
      logits: backend.tensor(...buffers.logits),
    })
    this.pool = backend.kvPool(poolSpecOf(spec, options.kv))
    this.#runner = new LayerRunner(backend, config, this.pool)
    this.#placed = new PlacedWriter(backend, spec, options.passTokens)
  }

  /**
   * Runs a pass through all layers. Resolves with the logits of its `outputs`, (outputs, vocab);
   * `lent` ones are valid until the next pass that lends. Passes queue.
   */
  forward(pass: Pass, lending: Lending = 'own'): Promise<Float32Array> {
    return this.through(pass, () => this.logits(pass.outputs, lending))
  }

  /**
   * Runs a pass as `forward` does. Resolves with the scores of each output: at least its number of
   * `bests`, as a shortlist if the backend makes lists of this length, else as all logits, lent.
   */
  scores(pass: Pass, bests: readonly number[]): Promise<Scores[]> {
    return this.through(pass, () => this.scoresOf(pass.outputs, bests))
  }

  /** Runs a pass through all layers, then `score` before anything else uses the activations. */
  through<T>(pass: Pass, score: () => Promise<T>): Promise<T> {
    return this.exclusive(() => {
      this.begin(pass)
      this.run(pass, this.layers)
      return score()
    })
  }

  /**
   * Makes room for products of `inputs` beside the model's own, for a predictor that is being
   * fitted. Throws `unsupported` if layers differ.
   */
  widen(inputs: number): void {
    requireAlike(this.config, 'a predictor')
    this.#backend.prepare(limitsOf(this.config, this.#spec, { tokens: this.passTokens, inputs }))
  }

  /** Returns the span of all layers. */
  get layers(): Span {
    return { from: 0, to: this.#layers.length }
  }

  /** Throws `unsupported` if K and V of tokens cannot be kept and placed elsewhere. */
  requirePlaceable(): void {
    requireKeysAndValues(this.#spec, 'keeping chunks')
  }

  /** Number of values of K and V together that each layer has for a token, (layers). */
  get kvWidths(): readonly number[] {
    return this.#layers.map(({ kvHeads }) => 2 * kvHeads * this.config.headDim)
  }

  /** Returns the residual stream of the current pass, (tokens, hidden). */
  get states(): Tensor {
    return this.#x
  }

  /** Runs `work` when no other pass uses the activations, which exist once. */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    return this.#activations.run(work)
  }

  /**
   * Writes the K and V that are placed, plans the pass, and writes the embeddings of its tokens to
   * the residual stream.
   */
  begin(pass: Pass): void {
    if (pass.ids.length > this.passTokens)
      throw new ForetokenError(
        'bad_argument',
        `a pass of ${pass.ids.length} tokens exceeds the ${this.passTokens} that buffers were made for; give fewer at once`,
      )
    if (this.bothWays && pass.segments.some(({ past }) => past > 0))
      throw new ForetokenError('internal', 'a text of a model that sees both ways was split between passes')
    if (pass.placed) this.#place(pass.placed)
    this.#backend.plan(pass.segments, this.#ropes)
    this.#embedding.write(this.#x, pass.ids)
  }

  /**
   * Runs some layers over the rows of some segments of the pass, and writes their K and V. Default:
   * all segments. Only those of `whole` run through the MLPs, too; default: the same segments.
   */
  run(pass: Pass, layers: Span, segments: Span = { from: 0, to: pass.segments.length }, whole = segments): void {
    const rows = this.#window(pass, segments)
    if (rows.count === 0) return
    const mlpRows = whole === segments ? rows : this.#rows(pass, whole)
    const watched = this.#watchedIn(pass, segments)
    for (let index = layers.from; index < layers.to; index++) {
      const layer = at(this.#layers, index)
      const watch = () => {
        for (const segment of watched) {
          const kv = this.#keysAndValues(layer, this.#backend.rows(this.#qkv, segment.start))
          pass.watched?.get(segment)?.take(index, segment.past, this.#backend.read(kv, segment.length))
        }
      }
      this.#runner.run(layer, index, rows, { mlpRows, ...(watched.length > 0 && { watch }) })
    }
  }

  /** Returns the segments of a span whose K and V are read. */
  #watchedIn({ segments, watched }: Pass, { from, to }: Span): readonly Segment[] {
    return watched ? segments.slice(from, to).filter((segment) => watched.has(segment)) : []
  }

  /** Returns the columns of projected rows that hold K and V, (rows, 2 kvHeads * headDim). */
  #keysAndValues({ heads, kvHeads }: Layer, qkv: Tensor): Tensor {
    const { headDim } = this.config
    return this.#backend.columns(qkv, heads * headDim, 2 * kvHeads * headDim)
  }

  /** Writes given K and V, as a pass of their own. */
  #place(placed: NonNullable<Pass['placed']>): void {
    for (const batch of this.#placed.batches(placed)) {
      this.#backend.plan(batch.segments, this.#ropes)
      const rows = this.#rows(batch, { from: 0, to: batch.segments.length })
      for (let index = 0; index < this.#layers.length; index++) {
        const { k, v } = this.#placed.load(batch, index)
        this.#runner.writeKv(this.#attending(index), index, k, v, rows)
      }
    }
  }

  /**
   * Runs some layers over the whole pass; `watch` sees each one's K, before its norm and RoPE, and
   * V, (rows, 2 kvHeads * headDim).
   */
  runWatched(pass: Pass, layers: Span, watch: (layer: number, kv: Tensor) => void): void {
    const rows = this.#window(pass, { from: 0, to: pass.segments.length })
    for (let index = layers.from; index < layers.to; index++) {
      const layer = at(this.#layers, index)
      this.#runner.run(layer, index, rows, { watch: () => watch(index, this.#keysAndValues(layer, rows.qkv)) })
    }
  }

  /**
   * Returns the queries and keys, after RoPE, that layer `index` makes of the residual stream:
   * (tokens, heads * headDim) and (tokens, kvHeads * headDim). Throws `unsupported` if layers
   * differ or have windows.
   */
  queriesAndKeys(pass: Pass, index: number): { q: Tensor; k: Tensor } {
    requireAlike(this.config, 'pruning by attention')
    requireWholeContext(this.#spec, 'pruning by attention')
    const rows = this.#window(pass, { from: 0, to: pass.segments.length })
    return this.#runner.queriesAndKeys(this.#attending(index), rows)
  }

  /**
   * Writes the K and V that layer `index` makes of the residual stream, for some segments; the
   * stream stays as it is.
   */
  writeOwnKv(pass: Pass, index: number, segments: Span): void {
    const rows = this.#window(pass, segments)
    if (rows.count === 0) return
    this.#runner.writeOwnKv(this.#attending(index), index, rows)
  }

  /**
   * Writes given K, before its norm and RoPE, and V of the rows of some segments, (rows, kvHeads *
   * headDim) each, into layer `index`.
   */
  writeKv(pass: Pass, index: number, k: Tensor, v: Tensor, segments: Span): void {
    this.#runner.writeKv(this.#attending(index), index, k, v, this.#window(pass, segments))
  }

  /**
   * Returns the logits of rows `picked` of the residual stream, (picked, vocab), such as the last
   * rows of finished prompts; -Infinity for what is not a token. `lent` as for `forward`.
   */
  logits(picked: readonly number[], lending: Lending = 'own'): Promise<Float32Array> {
    return this.#head.logits(this.#x, picked, lending)
  }

  /** Returns the scores of rows `picked` of the residual stream, as `scores` does. */
  scoresOf(picked: readonly number[], bests: readonly number[]): Promise<Scores[]> {
    return this.#head.scores(this.#x, picked, bests)
  }

  /**
   * Returns the final states of rows `picked`, after the last norm: (picked, hidden). Overwrites the
   * residual stream, so nothing of the pass may be read after it.
   */
  finalStates(picked: readonly number[]): Promise<Float32Array> {
    return this.#head.normed(this.#x, picked, this.#h)
  }

  /** Returns the vectors that the dense layers make of pooled states, (hidden) each. */
  project(states: readonly Float32Array[]): Promise<readonly Float32Array[]> {
    return this.exclusive(() => this.#dense.run(states))
  }

  /** Throws `unsupported` for a model that sees both ways: it has no next token. */
  requireAnswers(): void {
    if (this.bothWays) throw withoutAnswers(this.config)
  }

  #attending(index: number): AttentionLayer {
    const layer = at(this.#layers, index)
    if (layer.convolution) throw new ForetokenError('internal', `layer ${index} is a convolution and has no K and V`)
    return layer
  }

  /** Returns the rows of some segments, which attention is computed for from now on. */
  #window(pass: Pass, segments: Span): Rows {
    this.#backend.window(segments.from, segments.to)
    return this.#rows(pass, segments)
  }

  #rows({ segments }: Pick<Pass, 'segments'>, { from, to }: Span): Rows {
    const backend = this.#backend
    const first = segments[from]?.start ?? 0
    const last = segments[to - 1]
    return {
      count: last && to > from ? last.start + last.length - first : 0,
      x: backend.rows(this.#x, first),
      h: backend.rows(this.#h, first),
      qkv: backend.rows(this.#qkv, first),
      gateUp: backend.rows(this.#gateUp, first),
      aside: backend.rows(this.#aside, first),
    }
  }
}
