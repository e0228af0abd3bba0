/**
 * What a model needs of a machine: tensors, weights, KV pages and about a dozen kernels.
 *
 * A pass is a run of calls that record or execute work in order and return nothing; only `read` waits. So one
 * interface fits a Wasm core, which executes at once, and a GPU, which submits once a pass. Shapes are in comments
 * as (rows, cols); `rows` is the flat token axis of all segments unless said otherwise.
 */
import type { KvType, TensorType } from '../types.ts'

/** An f32 matrix of device memory, (rows, cols), row-major. */
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

/** Takes a weight's file bytes in order, in pieces of any length, and lays them out for the kernels. */
export interface WeightWriter {
  /** Memory to read the next bytes into, at most `bytes` long; saves a copy over `write`. */
  reserve(bytes: number): Uint8Array
  /** Says that the first `bytes` of the last `reserve` are filled. */
  commit(bytes: number): void
  /** The finished weight. Throws `bad_model` if bytes are missing. */
  finish(): Weight
}

/** Pages of K and V for all layers: 16 tokens a page, made as they are needed. */
export interface KvPool {
  readonly type: KvType
  readonly layers: number
  readonly kvHeads: number
  readonly headDim: number
  /** Bytes of one page, all layers. */
  readonly pageBytes: number
  /** Pages that exist now; page ids are 0..pages-1. */
  readonly pages: number
  /** Makes room for `pages` in all. Throws `out_of_memory`. */
  grow(pages: number): void
  /** A page's raw bytes, for saving and for the wire. */
  readPage(page: number): Promise<Uint8Array>
  writePage(page: number, bytes: Uint8Array): void
}

/** Tokens per KV page. */
export const pageTokens = 16

/** One prompt's or sequence's run of tokens in a pass, attending to its own past and itself. */
export interface Segment {
  /** First row of this segment on the flat token axis. */
  readonly start: number
  /** Tokens of this segment in this pass. */
  readonly length: number
  /** Tokens already in its pages. */
  readonly past: number
  /** Page ids that hold positions 0..past+length-1, in order. */
  readonly pages: readonly number[]
}

/** What a pass is, for the kernels: uploaded once, used by every layer. */
export interface PassPlan {
  readonly tokens: number
  readonly segments: readonly Segment[]
}

export interface RopeSpec {
  readonly headDim: number
  readonly theta: number
  readonly pairs: 'half' | 'adjacent'
  readonly divisors?: readonly number[]
}

export interface Backend {
  /** Such as `wasm-relaxed-2t`: which build runs, with how many threads. */
  readonly build: string
  readonly threads: number
  /** Bytes held now. */
  memoryBytes(): number

  tensor(rows: number, cols: number): Tensor
  weight(spec: { name: string; type: TensorType; n: number; k: number }): WeightWriter
  /** A vector of weights as f32 (norms, biases), (1, k). */
  vector(values: Float32Array): Tensor
  kvPool(spec: { type: KvType; layers: number; kvHeads: number; headDim: number }): KvPool

  /** Uploads a plan: positions (past + offset in segment), RoPE angles, page slots. Valid until the next `plan`. */
  plan(plan: PassPlan, rope: RopeSpec, pool: KvPool): void

  /** out (tokens, hidden) = rows `ids` of the embedding. Throws `bad_argument` for an id outside 0..n-1. */
  embed(out: Tensor, embedding: Weight, ids: ArrayLike<number>): void
  /** out = x / rms(x) * weight per row; `out` may be `x`. */
  rmsNorm(out: Tensor, x: Tensor, weight: Tensor, eps: number, rows: number): void
  /** out (rows, sum of n) = x (rows, k) times each weight transposed, side by side. */
  matmul(out: Tensor, x: Tensor, weights: readonly Weight[], rows: number): void
  /** out (rows, n) += x times weight transposed. */
  matmulAdd(out: Tensor, x: Tensor, weight: Weight, rows: number): void
  /** x (rows, cols) += bias (1, bias.cols) from column `column` on. */
  addBias(x: Tensor, column: number, bias: Tensor, rows: number): void
  /** RMS norm of each head of `heads` x headDim columns from `column` on (Qwen3's q and k norm). */
  headNorm(x: Tensor, column: number, heads: number, weight: Tensor, eps: number, rows: number): void
  /** Rotates `heads` heads from column `column` on by the plan's positions. */
  rope(x: Tensor, column: number, heads: number): void
  /** Writes K and V of the plan's tokens, at columns `kColumn` and `vColumn` of x, into their pages of `layer`. */
  writeKv(pool: KvPool, layer: number, x: Tensor, kColumn: number, vColumn: number): void
  /** out (tokens, heads * headDim) = causal attention of each segment over its own pages of `layer`, scaled by 1/sqrt(headDim). */
  attention(out: Tensor, x: Tensor, qColumn: number, heads: number, pool: KvPool, layer: number): void
  /** out (rows, f) = silu(x[:, 0..f]) * x[:, f..2f]. */
  swiglu(out: Tensor, x: Tensor, rows: number): void
  /** out (picked.length, cols) = x[picked]. */
  gatherRows(out: Tensor, x: Tensor, picked: ArrayLike<number>): void
  /** The first `rows` rows of a tensor. The array may be a view that the next call overwrites. Rejects with `worker_lost`. */
  read(x: Tensor, rows: number): Promise<Float32Array>
  /** Frees everything; nothing else may be called after. */
  close(): Promise<void>
}
