/**
 * Runs one layer over some rows of a pass: attention, then the MLP, each added to the residual
 * stream.
 */
import type { Backend, Tensor, Weight } from '../backend/backend.ts'
import type { KvPool } from '../base/kv.ts'
import type { ModelConfig } from '../base/model.ts'
import { type AttentionLayer, addsAtOnce, type ConvolutionLayer, type Layer } from './layer.ts'

/** The activations of some rows of a pass. */
export interface Rows {
  readonly count: number
  readonly x: Tensor
  readonly h: Tensor
  readonly qkv: Tensor
  readonly gateUp: Tensor
  readonly aside: Tensor
}

/** The kernels of a layer, in the order of its recipe. */
export class LayerRunner {
  readonly #backend: Backend
  readonly #config: ModelConfig
  readonly #pool: KvPool

  /** Layers write their K and V into `pool`, and attend over it. */
  constructor(backend: Backend, config: ModelConfig, pool: KvPool) {
    this.#backend = backend
    this.#config = config
    this.#pool = pool
  }

  /**
   * Runs the layer: attention over `rows`, and the MLP over `mlpRows`, by default the same. `watch`
   * is called when the layer's K, before their norm and RoPE, and V have been computed.
   */
  run(
    layer: Layer,
    index: number,
    rows: Rows,
    { mlpRows = rows, watch }: { readonly mlpRows?: Rows; readonly watch?: () => void } = {},
  ): void {
    if (layer.convolution) this.#convolution(layer, index, rows)
    else this.#attention(layer, index, rows, watch)
    if (mlpRows.count > 0) this.#feedForward(layer, mlpRows)
  }

  /** Returns the queries and keys, after RoPE, that the layer makes of the residual stream. */
  queriesAndKeys(layer: AttentionLayer, rows: Rows): { q: Tensor; k: Tensor } {
    const { q, k } = this.#project(layer, rows)
    this.#turned(layer, k, rows)
    return { q, k }
  }

  /** Writes the K and V that the layer makes of the residual stream; the stream stays as it is. */
  writeOwnKv(layer: AttentionLayer, index: number, rows: Rows): void {
    const { k, v } = this.#keysAndValues(layer, rows)
    this.#backend.matmul(k, this.#normed(layer.attnNorm, rows), [layer.k, layer.v], rows.count)
    this.#biased(layer, k, v, rows)
    this.writeKv(layer, index, k, v, rows)
  }

  /** Writes given K, before their norm and RoPE, and V, (rows, kvHeads * headDim) each. */
  writeKv(layer: AttentionLayer, index: number, k: Tensor, v: Tensor, rows: Rows): void {
    this.#turned(layer, k, rows)
    this.#backend.writeKv(this.#pool, index, k, v)
  }

  /**
   * x += norm(o(attention(rope(q(norm(x))), K, V))), with the norms and the rotation that the layer
   * has.
   */
  #attention(layer: AttentionLayer, index: number, rows: Rows, watch?: () => void): void {
    const backend = this.#backend
    const { h } = rows
    const { q, k, v } = this.#project(layer, rows)
    watch?.()
    this.writeKv(layer, index, k, v, rows)
    const attended = backend.columns(h, 0, layer.heads * this.#config.headDim)
    backend.attention(attended, q, this.#pool, index, layer.attention)
    this.#addProduct(attended, layer.o, rows, rows.aside, layer, layer.oBias, layer.attnOutNorm)
  }

  /**
   * x += norm(out(c * convolution(b * x))), where in(norm(x)) is b, c and x; see `ConvolutionSpec`.
   * The products b * x go to pages, and the convolution reads them there.
   */
  #convolution(layer: ConvolutionLayer, index: number, rows: Rows): void {
    const backend = this.#backend
    const { hidden } = this.#config
    const { count, qkv } = rows
    backend.matmul(qkv, this.#normed(layer.attnNorm, rows), [layer.convIn], count)
    const [b, c, x] = [0, 1, 2].map((part) => backend.columns(qkv, part * hidden, hidden)) as [Tensor, Tensor, Tensor]
    backend.multiply(b, x, count)
    const half = hidden / 2
    backend.writeKv(this.#pool, index, backend.columns(b, 0, half), backend.columns(b, half, half))
    backend.convolve(c, this.#pool, index, layer.conv)
    this.#addProduct(c, layer.convOut, rows, backend.columns(rows.h, 0, hidden), layer, undefined, layer.attnOutNorm)
  }

  /** Returns the queries after RoPE, K before its norm and RoPE, and V. */
  #project(layer: AttentionLayer, rows: Rows): { q: Tensor; k: Tensor; v: Tensor } {
    const backend = this.#backend
    const { headDim } = this.#config
    const { count, qkv } = rows
    backend.matmul(qkv, this.#normed(layer.attnNorm, rows), [layer.q, layer.k, layer.v], count)
    const q = backend.columns(qkv, 0, layer.heads * headDim)
    const { k, v } = this.#keysAndValues(layer, rows)
    if (layer.qBias) backend.addBias(q, layer.qBias, count)
    this.#normedAndTurned(layer, q, layer.qNorm, count)
    if (layer.balance) backend.scaleColumns(q, layer.balance.qFactors, count)
    this.#biased(layer, k, v, rows)
    return { q, k, v }
  }

  #keysAndValues({ heads, kvHeads }: AttentionLayer, { qkv }: Rows): { k: Tensor; v: Tensor } {
    const { headDim } = this.#config
    const width = kvHeads * headDim
    return {
      k: this.#backend.columns(qkv, heads * headDim, width),
      v: this.#backend.columns(qkv, heads * headDim + width, width),
    }
  }

  #biased(layer: AttentionLayer, k: Tensor, v: Tensor, { count }: Rows): void {
    if (layer.kBias) this.#backend.addBias(k, layer.kBias, count)
    if (layer.vBias) this.#backend.addBias(v, layer.vBias, count)
  }

  /**
   * Makes K as pages hold it: normed and rotated as the layer says, and balanced if a channel
   * stands out.
   */
  #turned(layer: AttentionLayer, k: Tensor, { count }: Rows): void {
    this.#normedAndTurned(layer, k, layer.kNorm, count)
    if (!layer.balance) return
    this.#backend.addBias(k, layer.balance.kOffset, count)
    this.#backend.scaleColumns(k, layer.balance.kFactors, count)
  }

  /** Norms and rotates q or k in place, in the order of the layer. */
  #normedAndTurned(layer: AttentionLayer, x: Tensor, norm: Tensor | undefined, count: number): void {
    const { turn, qkNormsTurned } = layer
    if (norm && !qkNormsTurned) this.#headNormed(layer, x, norm, count)
    if (turn !== undefined) this.#backend.rope(x, turn)
    if (norm && qkNormsTurned) this.#headNormed(layer, x, norm, count)
  }

  /** Norms q or k in place, each head or all heads at once. */
  #headNormed({ qkNorms }: AttentionLayer, x: Tensor, norm: Tensor, count: number): void {
    const { rmsEps } = this.#config
    if (qkNorms === 'rows') this.#backend.rmsNorm(x, x, norm, rmsEps, count)
    else this.#backend.headNorm(x, norm, rmsEps, count)
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
    const out = backend.columns(h, 0, this.#config.hidden)
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
    if (norm) backend.rmsNorm(aside, aside, norm, this.#config.rmsEps, count)
    backend.addScaled(x, aside, layer.residualScale, count)
  }

  /** Returns the normed residual stream, or the stream itself for a layer without a norm. */
  #normed(norm: Tensor | undefined, { count, x, h }: Rows): Tensor {
    if (!norm) return x
    const normed = this.#backend.columns(h, 0, this.#config.hidden)
    this.#backend.rmsNorm(normed, x, norm, this.#config.rmsEps, count)
    return normed
  }
}
