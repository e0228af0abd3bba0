/**
 * The Llama family in one forward: llama, qwen2 (biases on q, k and v), qwen3 (RMS norm on each head of q and k) and openelm (the same,
 * with layers that differ in heads and MLP width).
 *
 * A pass is any mixture of prompts, chunks and decode steps on one flat token axis. Products run over all tokens at
 * once; attention runs segment by segment over its own pages.
 */
import type { Backend, Limits, RopeSpec, Shortlist, Tensor, Weight } from '../backend/backend.ts'
import { ForetokenError } from '../base/errors.ts'
import type { KvPool, KvType } from '../base/kv.ts'
import type { LayerShape, ModelArchive, ModelConfig } from '../base/model.ts'
import type { Pass } from '../base/pass.ts'
import { layerShapes, requireAlike } from './config.ts'
import { type KeyBalance, keyBalance, queryFactors } from './key-balance.ts'
import { expectWeights, type LoadedWeights, type LoadOptions, loadWeights } from './load.ts'
import { maskTokenless, paddingOf } from './tokenless.ts'

/** Its `heads`, `kvHeads` and `intermediate` are its own. */
interface Layer extends LayerShape {
  readonly attnNorm: Tensor // (1, hidden)
  readonly q: Weight // (heads * headDim, hidden)
  readonly k: Weight // (kvHeads * headDim, hidden)
  readonly v: Weight // (kvHeads * headDim, hidden)
  readonly qBias: Tensor | undefined
  readonly kBias: Tensor | undefined
  readonly vBias: Tensor | undefined
  readonly qNorm: Tensor | undefined // (1, headDim)
  readonly kNorm: Tensor | undefined // (1, headDim)
  readonly balance: Balance | undefined
  readonly o: Weight // (hidden, heads * headDim)
  readonly ffnNorm: Tensor // (1, hidden)
  readonly gate: Weight // (intermediate, hidden)
  readonly up: Weight // (intermediate, hidden)
  readonly down: Weight // (hidden, intermediate)
}

/** A layer's `KeyBalance` in the backend. */
interface Balance {
  readonly kOffset: Tensor // (1, kvHeads * headDim)
  readonly kFactors: Tensor // (1, kvHeads * headDim)
  readonly qFactors: Tensor // (1, heads * headDim)
}

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
}

export interface ModelOptions extends LoadOptions {
  /** Tokens a pass may have. */
  readonly passTokens: number
  /** Entries of all page lists of a pass together that room is made for at once. Default: two for each token. */
  readonly pageEntries?: number
  /** Rows of logits made at once; more outputs go in several products. */
  readonly logitRows: number
  readonly kv: KvType
  /** Inner dimension of the largest product beside the model's own: a predictor's. 0 or absent without one. */
  readonly inputs?: number
}

/** A model in a backend, ready to run passes. */
export class Llama {
  readonly config: ModelConfig
  /** Tells this model's weights from others of the same shapes. */
  readonly identity: string
  readonly passTokens: number
  readonly pool: KvPool
  /** What pages hold of K, by layer; undefined where they hold K as it is. */
  readonly keyBalances: readonly (KeyBalance | undefined)[]
  readonly #backend: Backend
  /** (vocab, hidden): one matrix, or its first rows and the rest. */
  readonly #embedding: readonly Weight[]
  readonly #layers: readonly Layer[]
  readonly #norm: Tensor
  readonly #head: readonly Weight[]
  readonly #rope: RopeSpec
  readonly #x: Tensor // (tokens, hidden): the residual stream
  readonly #h: Tensor // (tokens, max(hidden, heads * headDim)): normed input, then attention output
  readonly #qkv: Tensor // (tokens, (heads + 2 kvHeads) * headDim)
  readonly #gateUp: Tensor // (tokens, 2 intermediate); the same memory, since the two never live at once
  readonly #last: Tensor // (logitRows, hidden)
  readonly #logits: Tensor // (logitRows, vocab)
  /** The first columns of `#logits`, up to the last that has a token. */
  readonly #named: Tensor
  readonly #archive: Pick<ModelArchive, 'config' | 'tokenless'>
  /** As told at its getter. */
  readonly #longestShortlist: number | undefined
  /** Logits of a pass whose caller needs them only until the next: half a megabyte a token would be left to the collector. */
  #lent = new Float32Array(0)
  #busy: Promise<void> = Promise.resolve()

  /** Streams the weights in. Throws `bad_model`, `out_of_memory`, and `unsupported` for a predictor where layers differ. */
  static async load(backend: Backend, archive: ModelArchive, options: ModelOptions): Promise<Llama> {
    const { config } = archive
    if (options.inputs) requireAlike(config, 'a predictor')
    const floats = Object.values(buffersOf(config, options)).reduce((sum, [rows, cols]) => sum + rows * cols, 0)
    expectWeights(backend, archive, floats * 4)
    backend.prepare(limitsOf(config, options.passTokens, options.inputs ?? 0, options.pageEntries))
    return new Llama(backend, archive, await loadWeights(backend, archive, options), options)
  }

  private constructor(backend: Backend, archive: ModelArchive, weights: LoadedWeights, options: ModelOptions) {
    const { config, tokenless } = archive
    const { intermediate, heads, kvHeads, headDim, layers, vocab } = config
    this.config = config
    this.identity = weights.identity
    this.passTokens = options.passTokens
    this.#backend = backend
    const tail = config.tailFrom === undefined ? [] : [weights.matrix('embedTail')]
    this.#embedding = [weights.matrix('embed'), ...tail]
    this.#head = config.tiedEmbedding ? this.#embedding : [weights.matrix('head')]
    this.#norm = weights.vector('norm')
    const shapes = layerShapes(config)
    this.keyBalances = shapes.map((_, index) => {
      const bias = weights.keyBiases.get(`layers.${index}.kBias`)
      return bias && keyBalance(bias, config)
    })
    this.#layers = shapes.map((shape, index) => {
      const balance = this.keyBalances[index]
      return {
        ...shape,
        ...layerWeights(weights, `layers.${index}`),
        balance: balance && {
          kOffset: backend.vector(balance.offset),
          kFactors: backend.vector(balance.factors),
          qFactors: backend.vector(queryFactors(balance.factors, shape.heads, headDim)),
        },
      }
    })
    this.#rope = {
      headDim,
      theta: config.ropeTheta,
      pairs: config.ropePairs,
      ...(config.ropeDivisors && { divisors: config.ropeDivisors }),
    }
    const buffers = buffersOf(config, options)
    this.#x = backend.tensor(...buffers.x)
    this.#h = backend.tensor(...buffers.h)
    const wide = backend.tensor(...buffers.wide)
    this.#qkv = backend.columns(wide, 0, (heads + 2 * kvHeads) * headDim)
    this.#gateUp = backend.columns(wide, 0, 2 * intermediate)
    this.#last = backend.tensor(...buffers.last)
    this.#logits = backend.tensor(...buffers.logits)
    const padding = paddingOf(tokenless, vocab)
    this.#named = backend.columns(this.#logits, 0, vocab - padding)
    this.#archive = { config, tokenless }
    const { longestShortlist: longest } = backend
    const amid = tokenless.length > padding
    this.#longestShortlist = amid || longest === undefined ? undefined : Math.min(longest, vocab - padding)
    const layerKvHeads = shapes.map((shape) => shape.kvHeads)
    this.pool = backend.kvPool({ type: options.kv, layers, kvHeads, headDim, layerKvHeads })
  }

  /**
   * Runs a pass through all layers; resolves with the logits of its `outputs`, (outputs, vocab): those `lent` are valid until the next
   * pass that lends. Passes queue.
   */
  forward(pass: Pass, lent: 'lent' | 'own' = 'own'): Promise<Float32Array> {
    return this.through(pass, () => this.logits(pass.outputs, lent))
  }

  /**
   * The longest that `shortlists` makes; undefined where reading all logits costs as little, and where rows without a token lie among the
   * others, so that a list may hold one.
   */
  get longestShortlist(): number | undefined {
    return this.#longestShortlist
  }

  /** As `forward`, but resolves with the best `count`, at most `longestShortlist`, of the logits of each output. */
  shortlists(pass: Pass, count: number): Promise<Shortlist[]> {
    return this.through(pass, () => this.shortlistsOf(pass.outputs, count))
  }

  /** Runs a pass through all layers; then `score`, before anything else uses the activations. */
  through<T>(pass: Pass, score: () => Promise<T>): Promise<T> {
    return this.exclusive(() => {
      this.begin(pass)
      this.run(pass, this.layers)
      return score()
    })
  }

  /**
   * Makes room for products of `inputs` beside the model's own: a predictor that is being fitted. Throws `unsupported` where
   * layers differ.
   */
  widen(inputs: number): void {
    requireAlike(this.config, 'a predictor')
    this.#backend.prepare(limitsOf(this.config, this.passTokens, inputs))
  }

  /** All layers. */
  get layers(): Span {
    return { from: 0, to: this.#layers.length }
  }

  /** The residual stream of the pass at hand, (tokens, hidden). */
  get states(): Tensor {
    return this.#x
  }

  /** Runs `work` when no other pass uses the activations, which exist once. */
  async exclusive<T>(work: () => Promise<T>): Promise<T> {
    const before = this.#busy
    let free = () => {}
    this.#busy = new Promise((resolve) => {
      free = resolve
    })
    await before
    try {
      return await work()
    } finally {
      free()
    }
  }

  /** Plans the pass and puts the embeddings of its tokens on the residual stream. */
  begin(pass: Pass): void {
    if (pass.ids.length > this.passTokens)
      throw new ForetokenError(
        'bad_argument',
        `a pass of ${pass.ids.length} tokens exceeds the ${this.passTokens} that buffers were made for; give fewer at once`,
      )
    this.#backend.plan(pass.segments, this.#rope)
    this.#embed(pass.ids)
  }

  /** Runs some layers over the rows of some segments of the pass, and writes their K and V. Default: all segments. */
  run(pass: Pass, layers: Span, segments: Span = { from: 0, to: pass.segments.length }): void {
    const rows = this.#window(pass, segments)
    if (rows.count === 0) return
    for (let index = layers.from; index < layers.to; index++) {
      this.#attention(this.#layers[index]!, index, rows)
      this.#feedForward(this.#layers[index]!, rows)
    }
  }

  /** Runs some layers over the whole pass; `watch` sees each one's K, before its norm and RoPE, and V, (rows, 2 kvHeads * headDim). */
  runWatched(pass: Pass, layers: Span, watch: (layer: number, kv: Tensor) => void): void {
    const rows = this.#window(pass, { from: 0, to: pass.segments.length })
    const { headDim } = this.config
    for (let index = layers.from; index < layers.to; index++) {
      const layer = this.#layers[index]!
      const kv = this.#backend.columns(rows.qkv, layer.heads * headDim, 2 * layer.kvHeads * headDim)
      this.#attention(layer, index, rows, () => watch(index, kv))
      this.#feedForward(layer, rows)
    }
  }

  /**
   * Queries and keys, after RoPE, that layer `index` makes of the residual stream: (tokens, heads * headDim), (tokens, kvHeads * headDim).
   * Throws `unsupported` where layers differ.
   */
  queriesAndKeys(pass: Pass, index: number): { q: Tensor; k: Tensor } {
    requireAlike(this.config, 'pruning by attention')
    const rows = this.#window(pass, { from: 0, to: pass.segments.length })
    const layer = this.#layers[index]!
    const { q, k } = this.#project(layer, rows)
    this.#turned(layer, k, rows)
    return { q, k }
  }

  /** Writes the K and V that layer `index` makes of the residual stream, for some segments; the stream stays as it is. */
  writeOwnKv(pass: Pass, index: number, segments: Span): void {
    const rows = this.#window(pass, segments)
    if (rows.count === 0) return
    const layer = this.#layers[index]!
    const { k, v } = this.#keysAndValues(layer, rows)
    this.#backend.matmul(k, this.#normed(layer.attnNorm, rows), [layer.k, layer.v], rows.count)
    this.#biased(layer, k, v, rows)
    this.#writeKv(layer, index, k, v, rows)
  }

  /** Writes given K, before its norm and RoPE, and V of the rows of some segments, (rows, kvHeads * headDim) each, into layer `index`. */
  writeKv(pass: Pass, index: number, k: Tensor, v: Tensor, segments: Span): void {
    this.#writeKv(this.#layers[index]!, index, k, v, this.#window(pass, segments))
  }

  /** Logits of rows `picked` of the residual stream, (picked, vocab): the last rows of finished prompts; -Infinity without a token. As `forward`. */
  async logits(picked: readonly number[], lent: 'lent' | 'own' = 'own'): Promise<Float32Array> {
    const { vocab } = this.config
    const all = this.#room(picked.length * vocab, lent)
    await this.#score(picked, (rows, at) => this.#backend.read(this.#logits, rows, all.subarray(at * vocab)))
    for (let row = 0; row < picked.length; row++)
      maskTokenless(all.subarray(row * vocab, (row + 1) * vocab), this.#archive)
    return all
  }

  /** The best `count` logits of each of the rows `picked` of the residual stream. */
  async shortlistsOf(picked: readonly number[], count: number): Promise<Shortlist[]> {
    const all: Shortlist[] = []
    await this.#score(picked, async (rows) => {
      all.push(...(await this.#backend.shortlists!(this.#named, rows, count)))
    })
    return all
  }

  /** Puts the logits of `picked` into `#logits`, as many as it holds at once; `take` takes the first `rows` of them, `picked` from `at` on. */
  async #score(picked: readonly number[], take: (rows: number, at: number) => Promise<unknown>): Promise<void> {
    const backend = this.#backend
    const step = this.#logits.rows
    for (let at = 0; at < picked.length; at += step) {
      const rows = picked.slice(at, at + step)
      backend.gatherRows(this.#last, this.#x, rows)
      backend.rmsNorm(this.#last, this.#last, this.#norm, this.config.rmsEps, rows.length)
      backend.matmul(this.#logits, this.#last, this.#head, rows.length)
      await take(rows.length, at)
    }
  }

  #room(values: number, lent: 'lent' | 'own'): Float32Array {
    if (lent === 'own') return new Float32Array(values)
    if (this.#lent.length < values) this.#lent = new Float32Array(values)
    return this.#lent.subarray(0, values)
  }

  /** Runs of ids whose rows lie in the same matrix are one call. */
  #embed(ids: readonly number[]): void {
    const backend = this.#backend
    const [first, tail] = this.#embedding
    const from = this.config.tailFrom
    if (from === undefined) backend.embed(this.#x, first!, ids)
    for (let at = 0; from !== undefined && at < ids.length; ) {
      const inTail = ids[at]! >= from
      let end = at + 1
      while (end < ids.length && ids[end]! >= from === inTail) end++
      const run = ids.slice(at, end)
      backend.embed(backend.rows(this.#x, at), inTail ? tail! : first!, inTail ? run.map((id) => id - from) : run)
      at = end
    }
  }

  #window({ segments }: Pass, { from, to }: Span): Rows {
    const backend = this.#backend
    backend.window(from, to)
    const first = segments[from]?.start ?? 0
    const last = segments[to - 1]
    return {
      count: to > from ? last!.start + last!.length - first : 0,
      x: backend.rows(this.#x, first),
      h: backend.rows(this.#h, first),
      qkv: backend.rows(this.#qkv, first),
      gateUp: backend.rows(this.#gateUp, first),
    }
  }

  /** x += o(attention(rope(q(norm(x))), K, V)) */
  #attention(layer: Layer, index: number, rows: Rows, watch?: () => void): void {
    const backend = this.#backend
    const { count, x, h } = rows
    const { q, k, v } = this.#project(layer, rows)
    watch?.()
    this.#writeKv(layer, index, k, v, rows)
    const attended = backend.columns(h, 0, layer.heads * this.config.headDim)
    backend.attention(attended, q, this.pool, index)
    backend.matmulAdd(x, attended, layer.o, count)
  }

  /** Queries after RoPE, K before its norm and RoPE, and V. */
  #project(layer: Layer, rows: Rows): { q: Tensor; k: Tensor; v: Tensor } {
    const backend = this.#backend
    const { headDim, rmsEps } = this.config
    const { count, qkv } = rows
    backend.matmul(qkv, this.#normed(layer.attnNorm, rows), [layer.q, layer.k, layer.v], count)
    const q = backend.columns(qkv, 0, layer.heads * headDim)
    const { k, v } = this.#keysAndValues(layer, rows)
    if (layer.qBias) backend.addBias(q, layer.qBias, count)
    if (layer.qNorm) backend.headNorm(q, layer.qNorm, rmsEps, count)
    backend.rope(q)
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

  /** K as attention reads it: normed where the model does so, rotated, and balanced where a channel stands out. */
  #turned(layer: Layer, k: Tensor, { count }: Rows): void {
    if (layer.kNorm) this.#backend.headNorm(k, layer.kNorm, this.config.rmsEps, count)
    this.#backend.rope(k)
    if (!layer.balance) return
    this.#backend.addBias(k, layer.balance.kOffset, count)
    this.#backend.scaleColumns(k, layer.balance.kFactors, count)
  }

  #writeKv(layer: Layer, index: number, k: Tensor, v: Tensor, rows: Rows): void {
    this.#turned(layer, k, rows)
    this.#backend.writeKv(this.pool, index, k, v)
  }

  /** x += down(silu(gate(norm(x))) * up(norm(x))) */
  #feedForward(layer: Layer, rows: Rows): void {
    const backend = this.#backend
    const { intermediate } = layer
    const { count, x, gateUp } = rows
    backend.matmul(gateUp, this.#normed(layer.ffnNorm, rows), [layer.gate, layer.up], count)
    const gate = backend.columns(gateUp, 0, intermediate)
    const up = backend.columns(gateUp, intermediate, intermediate)
    backend.swiglu(gate, gate, up, count)
    backend.matmulAdd(x, gate, layer.down, count)
  }

  #normed(norm: Tensor, { count, x, h }: Rows): Tensor {
    const normed = this.#backend.columns(h, 0, this.config.hidden)
    this.#backend.rmsNorm(normed, x, norm, this.config.rmsEps, count)
    return normed
  }
}

function limitsOf(config: ModelConfig, tokens: number, inputs: number, pageEntries?: number): Limits {
  const { hidden, intermediate, heads, headDim } = config
  const groups = [...new Set(layerShapes(config).map((layer) => layer.heads / layer.kvHeads))]
  const maxK = Math.max(hidden, intermediate, heads * headDim, inputs)
  return { tokens, maxK, headDim, groups, ...(pageEntries !== undefined && { pageEntries }) }
}

/** The activations of a pass: (rows, columns) of each tensor. */
function buffersOf(config: ModelConfig, { passTokens, logitRows }: ModelOptions) {
  const { hidden, intermediate, heads, kvHeads, headDim, vocab } = config
  return {
    x: [passTokens, hidden],
    h: [passTokens, Math.max(hidden, heads * headDim)],
    wide: [passTokens, Math.max((heads + 2 * kvHeads) * headDim, 2 * intermediate)],
    last: [logitRows, hidden],
    logits: [logitRows, vocab],
  } as const
}

function layerWeights(weights: LoadedWeights, at: string): Omit<Layer, keyof LayerShape | 'balance'> {
  return {
    attnNorm: weights.vector(`${at}.attnNorm`),
    q: weights.matrix(`${at}.q`),
    k: weights.matrix(`${at}.k`),
    v: weights.matrix(`${at}.v`),
    qBias: weights.optionalVector(`${at}.qBias`),
    kBias: weights.optionalVector(`${at}.kBias`),
    vBias: weights.optionalVector(`${at}.vBias`),
    qNorm: weights.optionalVector(`${at}.qNorm`),
    kNorm: weights.optionalVector(`${at}.kNorm`),
    o: weights.matrix(`${at}.o`),
    ffnNorm: weights.vector(`${at}.ffnNorm`),
    gate: weights.matrix(`${at}.gate`),
    up: weights.matrix(`${at}.up`),
    down: weights.matrix(`${at}.down`),
  }
}
