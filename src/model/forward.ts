/**
 * Runs models by their recipes (`ModelSpec`); it does not know families.
 *
 * A pass is any mixture of prompts, chunks and decode steps on one flat token axis. Products run
 * over all tokens at once; attention runs segment by segment over its own pages.
 */
import type { Backend, Scores, Tensor, Weight } from '../backend/backend.ts'
import { at } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import type { KvPool } from '../base/kv.ts'
import type { ModelArchive, ModelConfig, ModelSpec, RopeSpec } from '../base/model.ts'
import type { Pass } from '../base/pass.ts'
import { requireAlike } from './config.ts'
import { Embedding } from './embedding.ts'
import { Exclusive } from './exclusive.ts'
import { specOf } from './families/index.ts'
import { Head, type Lending } from './head.ts'
import { type KeyBalance, keyBalance } from './key-balance.ts'
import {
  activationBytes,
  addsAtOnce,
  buffersOf,
  type Layer,
  layersOf,
  limitsOf,
  requireWholeContext,
  ropesOf,
} from './layer.ts'
import { expectWeights, type LoadedWeights, loadWeights } from './load.ts'
import type { ModelOptions } from './model-options.ts'

/** Layers or segments `from`..`to` - 1. */
export interface Span {
  readonly from: number
  readonly to: number
}

/** The activations of some rows of a pass. */
interface Rows {
  readonly count: number
  readonly x: Tensor
  readonly h: Tensor
  readonly qkv: Tensor
  readonly gateUp: Tensor
  readonly aside: Tensor
}

/** A model in a backend, ready to run passes. */
export class LoadedModel {
  readonly config: ModelConfig
  /** Distinguishes this model's weights from others of the same shapes. */
  readonly identity: string
  readonly passTokens: number
  readonly pool: KvPool
  /** How pages hold K, by layer; undefined for layers whose K is stored unchanged. */
  readonly keyBalances: readonly (KeyBalance | undefined)[]
  readonly #backend: Backend
  readonly #spec: ModelSpec
  readonly #embedding: Embedding
  readonly #layers: readonly Layer[]
  readonly #head: Head
  readonly #ropes: readonly RopeSpec[]
  readonly #x: Tensor // (tokens, hidden): the residual stream
  readonly #h: Tensor // (tokens, max(hidden, heads * headDim)): normed input, then attention output or MLP output
  readonly #qkv: Tensor // (tokens, (heads + 2 kvHeads) * headDim)
  readonly #gateUp: Tensor // (tokens, 2 intermediate); the same memory, since the two never live at once
  readonly #aside: Tensor // (tokens, hidden) of the same memory: what attention adds, if it is not added at once
  readonly #activations = new Exclusive()

  /**
   * Reads the weights and allocates all buffers. Throws `bad_model`, `out_of_memory`, and
   * `unsupported` for a recipe that the backend does not compute and for a predictor if layers
   * differ.
   */
  static async load(backend: Backend, archive: ModelArchive, options: ModelOptions): Promise<LoadedModel> {
    const { config } = archive
    const spec = options.spec ?? specOf(config)
    if (options.inputs) requireAlike(config, 'a predictor')
    expectWeights(backend, archive, activationBytes(config, spec, options))
    const { passTokens: tokens, inputs = 0, pageEntries } = options
    backend.prepare(limitsOf(config, spec, { tokens, inputs, pageEntries }))
    return new LoadedModel(backend, archive, spec, await loadWeights(backend, archive, options), options)
  }

  private constructor(
    backend: Backend,
    archive: ModelArchive,
    spec: ModelSpec,
    weights: LoadedWeights,
    options: ModelOptions,
  ) {
    const { config, tokenless } = archive
    const { hidden, intermediate, heads, kvHeads, headDim, layers } = config
    this.config = config
    this.identity = weights.identity
    this.passTokens = options.passTokens
    this.#backend = backend
    this.#embedding = new Embedding(backend, config, spec, weights)
    this.#spec = spec
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
    this.#qkv = backend.columns(wide, 0, (heads + 2 * kvHeads) * headDim)
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
    const layerKvHeads = spec.layers.map((layer) => layer.kvHeads)
    this.pool = backend.kvPool({ type: options.kv, layers, kvHeads, headDim, layerKvHeads })
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

  /** Returns the residual stream of the current pass, (tokens, hidden). */
  get states(): Tensor {
    return this.#x
  }

  /** Runs `work` when no other pass uses the activations, which exist once. */
  exclusive<T>(work: () => Promise<T>): Promise<T> {
    return this.#activations.run(work)
  }

  /** Plans the pass and writes the embeddings of its tokens to the residual stream. */
  begin(pass: Pass): void {
    if (pass.ids.length > this.passTokens)
      throw new ForetokenError(
        'bad_argument',
        `a pass of ${pass.ids.length} tokens exceeds the ${this.passTokens} that buffers were made for; give fewer at once`,
      )
    this.#backend.plan(pass.segments, this.#ropes)
    this.#embedding.write(this.#x, pass.ids)
  }

  /**
   * Runs some layers over the rows of some segments of the pass, and writes their K and V. Default:
   * all segments.
   */
  run(pass: Pass, layers: Span, segments: Span = { from: 0, to: pass.segments.length }): void {
    const rows = this.#window(pass, segments)
    if (rows.count === 0) return
    for (let index = layers.from; index < layers.to; index++) {
      const layer = at(this.#layers, index)
      this.#attention(layer, index, rows)
      this.#feedForward(layer, rows)
    }
  }

  /**
   * Runs some layers over the whole pass; `watch` sees each one's K, before its norm and RoPE, and
   * V, (rows, 2 kvHeads * headDim).
   */
  runWatched(pass: Pass, layers: Span, watch: (layer: number, kv: Tensor) => void): void {
    const rows = this.#window(pass, { from: 0, to: pass.segments.length })
    const { headDim } = this.config
    for (let index = layers.from; index < layers.to; index++) {
      const layer = at(this.#layers, index)
      const kv = this.#backend.columns(rows.qkv, layer.heads * headDim, 2 * layer.kvHeads * headDim)
      this.#attention(layer, index, rows, () => watch(index, kv))
      this.#feedForward(layer, rows)
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
    const layer = at(this.#layers, index)
    const { q, k } = this.#project(layer, rows)
    this.#turned(layer, k, rows)
    return { q, k }
  }

  /**
   * Writes the K and V that layer `index` makes of the residual stream, for some segments; the
   * stream stays as it is.
   */
  writeOwnKv(pass: Pass, index: number, segments: Span): void {
    const rows = this.#window(pass, segments)
    if (rows.count === 0) return
    const layer = at(this.#layers, index)
    const { k, v } = this.#keysAndValues(layer, rows)
    this.#backend.matmul(k, this.#normed(layer.attnNorm, rows), [layer.k, layer.v], rows.count)
    this.#biased(layer, k, v, rows)
    this.#writeKv(layer, index, k, v, rows)
  }

  /**
   * Writes given K, before its norm and RoPE, and V of the rows of some segments, (rows, kvHeads *
   * headDim) each, into layer `index`.
   */
  writeKv(pass: Pass, index: number, k: Tensor, v: Tensor, segments: Span): void {
    this.#writeKv(at(this.#layers, index), index, k, v, this.#window(pass, segments))
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

  #window({ segments }: Pass, { from, to }: Span): Rows {
    const backend = this.#backend
    backend.window(from, to)
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

  /**
   * x += norm(o(attention(rope(q(norm(x))), K, V))), with the norms and the rotation that the layer
   * has.
   */
  #attention(layer: Layer, index: number, rows: Rows, watch?: () => void): void {
    const backend = this.#backend
    const { h } = rows
    const { q, k, v } = this.#project(layer, rows)
    watch?.()
    this.#writeKv(layer, index, k, v, rows)
    const attended = backend.columns(h, 0, layer.heads * this.config.headDim)
    backend.attention(attended, q, this.pool, index, layer.attention)
    this.#addProduct(attended, layer.o, rows, rows.aside, layer, layer.oBias, layer.attnOutNorm)
  }

  /** Returns the queries after RoPE, K before its norm and RoPE, and V. */
  #project(layer: Layer, rows: Rows): { q: Tensor; k: Tensor; v: Tensor } {
    const backend = this.#backend
    const { headDim } = this.config
    const { count, qkv } = rows
    backend.matmul(qkv, this.#normed(layer.attnNorm, rows), [layer.q, layer.k, layer.v], count)
    const q = backend.columns(qkv, 0, layer.heads * headDim)
    const { k, v } = this.#keysAndValues(layer, rows)
    if (layer.qBias) backend.addBias(q, layer.qBias, count)
    if (layer.qNorm) this.#headNormed(layer, q, layer.qNorm, count)
    if (layer.turn !== undefined) backend.rope(q, layer.turn)
    if (layer.balance) backend.scaleColumns(q, layer.balance.qFactors, count)
    this.#biased(layer, k, v, rows)
    return { q, k, v }
  }

  #keysAndValues({ heads, kvHeads }: Layer, { qkv }: Rows): { k: Tensor; v: Tensor } {
    const { headDim } = this.config
    const width = kvHeads * headDim
    return {
      k: this.#backend.columns(qkv, heads * headDim, width),
      v: this.#backend.columns(qkv, heads * headDim + width, width),
    }
  }

  #biased(layer: Layer, k: Tensor, v: Tensor, { count }: Rows): void {
    if (layer.kBias) this.#backend.addBias(k, layer.kBias, count)
    if (layer.vBias) this.#backend.addBias(v, layer.vBias, count)
  }

  /**
   * Makes K as pages hold it: normed and rotated as the layer says, and balanced if a channel
   * stands out.
   */
  #turned(layer: Layer, k: Tensor, { count }: Rows): void {
    if (layer.kNorm) this.#headNormed(layer, k, layer.kNorm, count)
    if (layer.turn !== undefined) this.#backend.rope(k, layer.turn)
    if (!layer.balance) return
    this.#backend.addBias(k, layer.balance.kOffset, count)
    this.#backend.scaleColumns(k, layer.balance.kFactors, count)
  }

  /** Norms q or k in place, each head or all heads at once. */
  #headNormed({ qkNorms }: Layer, x: Tensor, norm: Tensor, count: number): void {
    const { rmsEps } = this.config
    if (qkNorms === 'rows') this.#backend.rmsNorm(x, x, norm, rmsEps, count)
    else this.#backend.headNorm(x, norm, rmsEps, count)
  }

  #writeKv(layer: Layer, index: number, k: Tensor, v: Tensor, rows: Rows): void {
    this.#turned(layer, k, rows)
    this.#backend.writeKv(this.pool, index, k, v)
  }

  /**
   * x += norm(down(act(gate(norm(x))) * up(norm(x)))), with the norms and the activation that the
   * layer has.
   */
  #feedForward(layer: Layer, rows: Rows): void {
    const backend = this.#backend
    const { intermediate } = layer
    const { count, h, gateUp } = rows
    backend.matmul(gateUp, this.#normed(layer.ffnNorm, rows), [layer.gate, layer.up], count)
    const gate = backend.columns(gateUp, 0, intermediate)
    const up = backend.columns(gateUp, intermediate, intermediate)
    backend.activation(gate, gate, up, layer.activation, count)
    const out = backend.columns(h, 0, this.config.hidden)
    this.#addProduct(gate, layer.down, rows, out, layer, undefined, layer.ffnOutNorm)
  }

  /**
   * x += residualScale * norm(product + bias). Where all three are absent the product adds itself;
   * else it is made in `aside`.
   */
  #addProduct(
    input: Tensor,
    weight: Weight,
    { count, x }: Rows,
    aside: Tensor,
    layer: Layer,
    bias: Tensor | undefined,
    norm: Tensor | undefined,
  ): void {
    const backend = this.#backend
    if (addsAtOnce(layer)) {
      backend.matmulAdd(x, input, weight, count)
      return
    }
    backend.matmul(aside, input, [weight], count)
    if (bias) backend.addBias(aside, bias, count)
    if (norm) backend.rmsNorm(aside, aside, norm, this.config.rmsEps, count)
    backend.addScaled(x, aside, layer.residualScale, count)
  }

  /** Returns the normed residual stream, or the stream itself for a layer without a norm. */
  #normed(norm: Tensor | undefined, { count, x, h }: Rows): Tensor {
    if (!norm) return x
    const normed = this.#backend.columns(h, 0, this.config.hidden)
    this.#backend.rmsNorm(normed, x, norm, this.config.rmsEps, count)
    return normed
  }
}
