/**
 * The interface of a machine that runs models: tensors, weights, KV pages and about fifteen
 * kernels.
 *
 * A pass is a series of calls that record or execute work in order and return nothing; only `read`
 * waits. So one interface fits a Wasm core, which executes at once, and a GPU, which submits once a
 * pass. Shapes are written (rows, cols); `rows` is the flat token axis of all segments unless noted
 * otherwise.
 */

import type { KvPool, KvShape, KvType } from '../base/kv.ts'
import type { KvCodec } from '../base/kv-codec.ts'
import type { Activation, AttentionSpec, RopeSpec, TensorType } from '../base/model.ts'
import type { Segment } from '../base/pass.ts'

/** An f32 matrix in device memory, or some columns of one: (rows, cols). */
export interface Tensor {
  readonly rows: number
  readonly cols: number
}

/** A weight matrix (n, k) in the backend's own layout: n outputs, k inputs. */
export interface Weight {
  readonly type: TensorType
  readonly n: number
  readonly k: number
}

/** Description of a weight before its bytes are read: (n, k), stored in a file as `type`. */
export interface WeightSpec {
  /** Name for error messages. */
  readonly name: string
  readonly type: TensorType
  readonly n: number
  readonly k: number
}

/** Sums of products in f64: (rows, cols). */
export interface Moments {
  readonly rows: number
  readonly cols: number
}

/**
 * Takes a weight's file bytes in order, in pieces of any length, and lays them out for the kernels.
 */
export interface WeightWriter {
  /**
   * Returns memory to read the next bytes into, at least 1 and at most `bytes` long. It is valid
   * until the next call of any kind.
   */
  reserve(bytes: number): Uint8Array
  /** Marks the first `bytes` of the last `reserve` as filled. */
  commit(bytes: number): void
  /** Returns the finished weight. Throws `bad_model` if bytes are missing. */
  finish(): Weight
}

/** The best logits of a row, in place of all of them. */
export interface Shortlist {
  /** (count), largest first; equal logits have the lower id first. */
  readonly logits: Float32Array
  readonly ids: Int32Array
  /** Logarithm of the sum of exp of all logits of the row. */
  readonly logSum: number
}

/** Scores of a position: all logits, (vocab), or the best of them. */
export type Scores = Float32Array | Shortlist

/**
 * The uses of a backend's memory, in bytes: `total = weights + pools + tables + free` always holds.
 */
export interface MemoryBalance {
  readonly total: number
  /** Weights: matrices and vectors. */
  readonly weights: number
  /** KV pages, in use and ready. */
  readonly pools: number
  /**
   * All other bytes: activations, tables of a pass, scratch, staging, stacks, and the core's static
   * data.
   */
  readonly tables: number
  /** Bytes that are held but unused, ready for any of the other uses. */
  readonly free: number
}

/** Limits of the passes that will run, so that buffers are allocated once. */
export interface Limits {
  /** Tokens in a pass. */
  readonly tokens: number
  /**
   * Entries of all page lists of a pass together; a pass with more allocates more. Default: two for
   * each token.
   */
  readonly pageEntries?: number
  /** Largest inner dimension of a matrix product. */
  readonly maxK: number
  readonly headDim: number
  /** Query heads per KV head, for each number that occurs in a layer. */
  readonly groups: readonly number[]
  /** Rotations of the layers, whose angles lie side by side. Default: one of all components. */
  readonly ropes?: readonly RopeSpec[]
}

export interface KvPoolSpec {
  readonly type: KvType
  /** Number of layers. */
  readonly layers: number
  /** KV heads of every layer, or the largest of `layerKvHeads`. */
  readonly kvHeads: number
  readonly headDim: number
  /** KV heads of each layer, (layers), where they differ. */
  readonly layerKvHeads?: readonly number[]
  /** Whether a layer is a convolution, (layers); absent if none is. */
  readonly convolutions?: readonly boolean[]
}

/** Returns the shape that a pool's pages have. */
export function kvShapeOf({ layers, kvHeads, headDim, layerKvHeads, convolutions }: KvPoolSpec): KvShape {
  return {
    headDim,
    layers: Array.from({ length: layers }, (_, layer) => ({
      kvHeads: layerKvHeads?.[layer] ?? kvHeads,
      convolution: convolutions?.[layer] ?? false,
    })),
  }
}

/** Returns the number of tokens behind its own that a query sees, as far as there are so many. */
export function aheadOf({ bothWays = false, window }: AttentionSpec): number {
  if (!bothWays) return 0
  return window === undefined ? 2 ** 32 - 1 : window - 1
}

/**
 * The operations of a forward, with the same contract on every machine. What only some machines can
 * do is an optional capability: `fitting`, `bench`, `wire`, `shortlists`.
 */
export interface Backend {
  /** Name of the build and its number of threads: `wasm-relaxed`, `wasm-simd128-2t`. */
  readonly build: string
  readonly threads: number
  readonly fitting?: Fitting
  readonly bench?: Bench
  readonly wire?: KvCodec
  readonly shortlists?: Shortlists
  /** Returns the bytes held now. */
  memoryBytes(): number
  /** Returns the uses of these bytes. */
  memory(): MemoryBalance
  /**
   * Sizes the scratch of all kernels. Call before the first pass, and again for larger limits.
   * Throws `unsupported` for what no kernel computes, by its name.
   */
  prepare(limits: Limits): void

  tensor(rows: number, cols: number): Tensor
  /** Returns columns `from`..`from + count` - 1 of `x`; they share its memory. */
  columns(x: Tensor, from: number, count: number): Tensor
  /** Returns the rows of `x` from `from` on; they share its memory. */
  rows(x: Tensor, from: number): Tensor
  /** Writes `values` (rows, cols) into `x` from row `from` on. */
  write(x: Tensor, from: number, values: Float32Array): void
  /** Uploads a vector of f32 weights (norms, biases): (1, values.length). */
  vector(values: Float32Array): Tensor
  /**
   * Makes room, before any weight is read, for weights of these shapes and `beside` bytes of
   * activations beside what is held. Specs with one row are vectors. Throws `out_of_memory` with
   * the numbers. A backend that cannot know this in advance does nothing.
   */
  expectWeights(specs: readonly WeightSpec[], beside: number): void
  weight(spec: WeightSpec): WeightWriter
  kvPool(spec: KvPoolSpec): KvPool
  /** Frees tensors, vectors, weights and sums of products; views of them become invalid. */
  release(...what: readonly (Tensor | Weight | Moments)[]): void

  /**
   * Uploads the tables of a pass: positions, page slots, and the angles of each rotation in
   * `ropes`. They hold until the next `plan`; all segments are in the window.
   */
  plan(segments: readonly Segment[], ropes: readonly RopeSpec[]): void
  /**
   * Narrows what `rope`, `writeKv` and `attention` work on to segments `from`..`to` - 1 of the
   * plan. Their tensors then begin at the first row of segment `from`.
   */
  window(from: number, to: number): void

  /**
   * out (ids.length, k) = rows `ids` of the embedding. Throws `bad_argument` for an id outside
   * 0..n-1.
   */
  embed(out: Tensor, embedding: Weight, ids: readonly number[]): void
  /** out = x / rms(x) * weight, row by row; `out` may be `x`. */
  rmsNorm(out: Tensor, x: Tensor, weight: Tensor, eps: number, rows: number): void
  /** out (rows, sum of n) = x (rows, k) times each weight transposed, side by side. */
  matmul(out: Tensor, x: Tensor, weights: readonly Weight[], rows: number): void
  /**
   * out (rows, n) += x (rows, k) times weight transposed: what `matmul` and `addScaled` by 1 do, in
   * one kernel.
   */
  matmulAdd(out: Tensor, x: Tensor, weight: Weight, rows: number): void
  /** out += factor * x, both (rows, cols); they share no memory. */
  addScaled(out: Tensor, x: Tensor, factor: number, rows: number): void
  /** x *= factor, for the first `rows` rows. */
  scale(x: Tensor, factor: number, rows: number): void
  /** x *= y, both (rows, cols), element by element. */
  multiply(x: Tensor, y: Tensor, rows: number): void
  /** x = cap * tanh(x / cap), for the first `rows` rows. */
  softCap(x: Tensor, cap: number, rows: number): void
  /** x += bias, row by row. */
  addBias(x: Tensor, bias: Tensor, rows: number): void
  /** x *= factors (1, cols), row by row; few of them are not 1. */
  scaleColumns(x: Tensor, factors: Tensor, rows: number): void
  /** Applies an RMS norm to each head of x (rows, heads * headDim), with weight (1, headDim). */
  headNorm(x: Tensor, weight: Tensor, eps: number, rows: number): void
  /**
   * Rotates each head of x (tokens, heads * headDim) by its token's position in the plan; `index`
   * names one of its rotations.
   */
  rope(x: Tensor, index: number): void
  /**
   * Writes k and v (tokens, kvHeads * headDim) of the plan's tokens into their pages of `layer`.
   */
  writeKv(pool: KvPool, layer: number, k: Tensor, v: Tensor): void
  /**
   * out (tokens, heads * headDim) = attention of each segment of the plan over its own pages of
   * `layer`, causal unless `spec` says that it goes both ways. A window counts tokens in the pages, which are positions but for a segment that has
   * a `position` of its own.
   */
  attention(out: Tensor, q: Tensor, pool: KvPool, layer: number, spec: AttentionSpec): void
  /**
   * x (tokens, 2 kvHeads * headDim) *= the causal convolution of each segment of the plan over what
   * `writeKv` wrote into `layer`: channels of the first half as K, of the second as V. `weights`
   * (1, taps * channels) begin with those of the oldest token; tokens before the first count as 0.
   */
  convolve(x: Tensor, pool: KvPool, layer: number, weights: Tensor): void
  /** out (rows, f) = kind(gate) * up, both (rows, f); `out` may be `gate` or `up`. */
  activation(out: Tensor, gate: Tensor, up: Tensor, kind: Activation, rows: number): void
  /**
   * out (picked.length, cols) = x[picked]; `out` may be columns of a wider tensor, and shares no
   * memory with `x`.
   */
  gatherRows(out: Tensor, x: Tensor, picked: readonly number[]): void
  /**
   * Returns a copy of the first `rows` rows of a tensor: in `into`, of (rows x cols) or more, if it
   * is present, else in a new array. Waits for all work before it. Rejects with `worker_lost`.
   */
  read(x: Tensor, rows: number, into?: Float32Array): Promise<Float32Array>
  /** Frees everything. No other method may be called after it. */
  close(): Promise<void>
}

/** Sums of products in f64, from which predictors are fitted. */
export interface Fitting {
  /** Allocates zeroed sums of products (rows, cols); `Backend.release` frees them. */
  moments(rows: number, cols: number): Moments
  /** sums += the first `rows` rows of x transposed times those of y: (x.cols, y.cols). */
  add(sums: Moments, x: Tensor, y: Tensor, rows: number): void
  /** Returns a copy of the sums, row-major. */
  read(sums: Moments): Promise<Float64Array>
}

/** Reference rates for benchmarks. */
export interface Bench {
  /**
   * Runs a rate test of this build's fastest product, in registers only and on one thread, for
   * about `ms` milliseconds. Returns operations per second; a multiply-add is 2.
   */
  peak(ms: number): number
}

/** Selects the best logits of a row, where that costs less than reading all of them. */
export interface Shortlists {
  /** Entries of the longest list. */
  readonly longest: number
  /**
   * Returns the best `count`, at most `longest` and `x.cols`, of each of the first `rows` rows. The
   * entries of a row and its `logSum` depend neither on `count` nor on other rows. Waits for all work before it. Rejects with `internal` for a row with NaN or +Infinity or
   * without a finite number, and with `worker_lost`.
   */
  of(x: Tensor, rows: number, count: number): Promise<Shortlist[]>
}
