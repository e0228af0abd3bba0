/**
 * Implements `Backend` on WebGPU: Dawn's in Node (Metal on macOS, Vulkan on Linux), or a browser's.
 * The caller provides the device.
 *
 * Calls are recorded and submitted when something is read: one submit a pass. Weights are uploaded
 * once. Activations are f32, where the Wasm core rounds them to int8 before a product, so results
 * differ from its by that rounding.
 */

import { at, defined } from '../../base/at.ts'
import { ForetokenError } from '../../base/errors.ts'
import type { KvPool } from '../../base/kv.ts'
import type { Activation, AttentionSpec, RopeSpec } from '../../base/model.ts'
import { isWhole } from '../../base/numbers.ts'
import type { Segment } from '../../base/pass.ts'
import {
  aheadOf,
  type Backend,
  type KvPoolSpec,
  type Limits,
  type MemoryBalance,
  type Moments,
  type Tensor,
  type Weight,
  type WeightSpec,
  type WeightWriter,
} from '../backend.ts'
import { type Frequencies, frequenciesOf } from '../frequencies.ts'
import { Best } from './best.ts'
import type { Features } from './features.ts'
import { f32, Gpu } from './gpu.ts'
import { GpuKvCodec } from './kv-codec.ts'
import { GpuKvPool } from './kv-pool.ts'
import { Products } from './products.ts'
import { longestHead } from './shaders/attention.ts'
import { shader } from './shaders/index.ts'
import { type Tables, tablesOf, type Window } from './tables.ts'
import { type GpuTensor, gpu } from './tensors.ts'
import { weightWriter } from './weight-writer.ts'
import type { GpuWeight } from './weights.ts'

export interface WebGpuOptions {
  readonly device: GPUDevice
  /** Name of the device for `build`: `apple metal-3`, `swiftshader`. */
  readonly name: string
  readonly features: Features
  /**
   * A Wasm core, which turns K and V into bytes of the wire. It is closed together with this
   * backend.
   */
  readonly host: Backend
  /** Maximum number of bytes of a weight in one buffer. Default: what the device can bind. */
  readonly weightBytes?: number
}

export function createWebGpuBackend(options: WebGpuOptions): Backend {
  return new WebGpuBackend(options)
}

/** The current pass, and the part of it that kernels work on. */
interface Plan {
  readonly tables: Tables
  readonly ropes: readonly RopeSpec[]
  readonly window: Window
}

class WebGpuBackend implements Backend {
  readonly build: string
  readonly threads = 1
  readonly shortlists: Best
  readonly wire?: GpuKvCodec
  readonly #gpu: Gpu
  readonly #host: Backend
  readonly #products: Products
  readonly #weightBytes: number | undefined
  #plan: Plan | undefined
  readonly #frequencies = new WeakMap<RopeSpec, Frequencies>()
  readonly #pools: GpuKvPool[] = []
  #closed = false

  constructor({ device, name, features, host, weightBytes }: WebGpuOptions) {
    this.#weightBytes = weightBytes
    this.build = `webgpu ${name}`
    this.#gpu = new Gpu(device, (kernel) => shader(kernel, features))
    this.#products = new Products(this.#gpu, features.matrix, device.limits)
    this.shortlists = new Best(this.#gpu)
    this.#host = host
    if (host.wire) this.wire = new GpuKvCodec(host, host.wire)
  }

  memoryBytes(): number {
    return this.memory().total
  }

  /** Counts the buffers of the device and the memory of the Wasm core beside it. */
  memory(): MemoryBalance {
    const { weights, pools, tables } = this.#gpu.used
    const host = this.#host.memory()
    const slack = this.#pools.reduce((sum, pool) => sum + pool.slack, 0)
    return {
      total: weights + pools + tables + host.total,
      weights: weights + host.weights,
      pools: pools - slack + host.pools,
      tables: tables + host.tables,
      free: slack + host.free,
    }
  }

  prepare({ headDim }: Limits): void {
    if (headDim > longestHead || headDim % 8 !== 0)
      throw new ForetokenError(
        'unsupported',
        `heads of ${headDim} dimensions; the WebGPU backend takes multiples of 8 up to ${longestHead}: use the wasm backend`,
      )
  }

  tensor(rows: number, cols: number): GpuTensor {
    return { rows, cols, at: this.#gpu.alloc(rows * cols), stride: cols }
  }

  columns(x: Tensor, from: number, count: number): GpuTensor {
    const { rows, at, stride } = gpu(x)
    if (from < 0 || from + count > x.cols)
      throw new ForetokenError('internal', `columns ${from}..${from + count} of a tensor with ${x.cols}`)
    return { rows, cols: count, at: at + from, stride }
  }

  rows(x: Tensor, from: number): GpuTensor {
    const { rows, cols, at, stride } = gpu(x)
    if (from < 0 || from > rows) throw new ForetokenError('internal', `row ${from} of a tensor with ${rows}`)
    return { rows: rows - from, cols, at: at + from * stride, stride }
  }

  write(x: Tensor, from: number, values: Float32Array): void {
    const { rows, cols, at, stride } = gpu(x)
    const count = values.length / cols
    if (stride !== cols || !Number.isInteger(count) || from < 0 || from + count > rows)
      throw new ForetokenError('internal', `${values.length} values do not fill rows of a (${rows}, ${cols}) tensor`)
    this.#gpu.write(at + from * cols, values)
  }

  vector(values: Float32Array): GpuTensor {
    const vector = this.tensor(1, values.length)
    this.#gpu.write(vector.at, values)
    return vector
  }

  /**
   * Does nothing: a device reports what it can bind, not how much memory it has. Too large a weight
   * fails when it is uploaded.
   */
  expectWeights(): void {}

  weight(spec: WeightSpec): WeightWriter {
    return weightWriter(this.#gpu, spec, this.#weightBytes)
  }

  kvPool(spec: KvPoolSpec): KvPool {
    const pool = new GpuKvPool(this.#gpu, spec)
    this.#pools.push(pool)
    return pool
  }

  /** Frees weights only: tensors lie in one buffer, which keeps its size. */
  release(...what: readonly (Tensor | Weight | Moments)[]): void {
    for (const each of what)
      if ('parts' in each) for (const { buffer } of (each as GpuWeight).parts) this.#gpu.free(buffer)
  }

  plan(segments: readonly Segment[], ropes: readonly RopeSpec[]): void {
    const frequencies = ropes.map((rope) => {
      const known = this.#frequencies.get(rope) ?? frequenciesOf(rope)
      this.#frequencies.set(rope, known)
      return known
    })
    const tables = tablesOf(segments, ropes, frequencies)
    this.#gpu.setTables(tables.words)
    this.#plan = { tables, ropes, window: tables.window(0, segments.length) }
  }

  window(from: number, to: number): void {
    const plan = this.#planned()
    this.#plan = { ...plan, window: plan.tables.window(from, to) }
  }

  embed(out: Tensor, embedding: Weight, ids: readonly number[]): void {
    const { n, k, kind, blocks, parts } = embedding as GpuWeight
    const bad = ids.find((id) => !isWhole(id, 0, n - 1))
    if (bad !== undefined)
      throw new ForetokenError('bad_argument', `token id ${bad} is outside the vocabulary 0..${n - 1}`)
    const { at, stride } = gpu(out)
    const list = this.#gpu.list(ids)
    for (const { buffer, from, n: outputs } of parts)
      this.#gpu.call({
        kernel: `embed ${kind}`,
        params: [list, ids.length, at, stride, from, outputs, k, blocks],
        groups: [Math.ceil((2 * blocks) / 64), ids.length],
        weight: buffer,
      })
  }

  rmsNorm(out: Tensor, x: Tensor, weight: Tensor, eps: number, rows: number): void {
    this.#norm(gpu(out), gpu(x), gpu(weight), x.cols, eps, rows)
  }

  headNorm(x: Tensor, weight: Tensor, eps: number, rows: number): void {
    this.#norm(gpu(x), gpu(x), gpu(weight), weight.cols, eps, rows)
  }

  matmul(out: Tensor, x: Tensor, weights: readonly Weight[], rows: number): void {
    this.#products.run(gpu(out), gpu(x), weights as readonly GpuWeight[], rows, 0)
  }

  matmulAdd(out: Tensor, x: Tensor, weight: Weight, rows: number): void {
    this.#products.run(gpu(out), gpu(x), [weight as GpuWeight], rows, 1)
  }

  addScaled(out: Tensor, x: Tensor, factor: number, rows: number): void {
    this.#scaleAdd(gpu(out), gpu(x), rows, 1, factor)
  }

  scale(x: Tensor, factor: number, rows: number): void {
    this.#scaleAdd(gpu(x), gpu(x), rows, 0, factor)
  }

  multiply(x: Tensor, y: Tensor, rows: number): void {
    const [to, from] = [gpu(x), gpu(y)]
    this.#each('multiply', [to.at, to.stride, from.at, from.stride, x.cols], x.cols, rows)
  }

  softCap(x: Tensor, cap: number, rows: number): void {
    const { at, stride, cols } = gpu(x)
    this.#each('soft_cap', [at, stride, cols, f32(cap)], cols, rows)
  }

  addBias(x: Tensor, bias: Tensor, rows: number): void {
    const { at, stride } = gpu(x)
    this.#each('bias', [at, stride, gpu(bias).at, bias.cols], bias.cols, rows)
  }

  scaleColumns(x: Tensor, factors: Tensor, rows: number): void {
    const { at: from, stride } = gpu(x)
    this.#each('scale', [from, stride, gpu(factors).at, factors.cols], factors.cols, rows)
  }

  rope(x: Tensor, index: number): void {
    const { at: from, stride, cols } = gpu(x)
    const { tables, ropes, window } = this.#planned()
    const { headDim, turned = headDim, pairs } = at(ropes, index)
    const heads = cols / headDim
    const angles = at(tables.angles, index) + window.row * turned
    const params = [from, stride, heads, headDim, turned, pairs === 'adjacent' ? 1 : 0, angles]
    this.#each('rope', params, (heads * turned) / 2, window.rows)
  }

  writeKv(pool: KvPool, layer: number, k: Tensor, v: Tensor): void {
    const kv = pool as GpuKvPool
    const { heads, word, type } = kv.layer(layer)
    const { at, stride } = gpu(k)
    const { tiles, tileCount, row } = this.#planned().window
    this.#gpu.call({
      kernel: `write_kv ${type}`,
      params: [tiles, row, at, gpu(v).at, stride, word, kv.pageBytes / 4, heads, kv.headDim],
      groups: [tileCount, heads],
      kv: kv.buffer,
    })
  }

  attention(out: Tensor, q: Tensor, pool: KvPool, layer: number, spec: AttentionSpec): void {
    const { scale, window = 0, softCap = 0 } = spec
    const kv = pool as GpuKvPool
    const { heads: kvHeads, word, type } = kv.layer(layer)
    const [to, from] = [gpu(out), gpu(q)]
    const heads = q.cols / kv.headDim
    const { tables, window: rows } = this.#planned()
    const place = [to.at, to.stride, from.at, from.stride, rows.blocks, rows.row, tables.pages]
    this.#gpu.call({
      kernel: `attention ${type}`,
      params: [
        ...place,
        heads,
        kvHeads,
        kv.headDim,
        word,
        kv.pageBytes / 4,
        f32(scale),
        window,
        aheadOf(spec),
        f32(softCap),
      ],
      groups: [rows.blockCount, heads],
      kv: kv.buffer,
    })
  }

  convolve(x: Tensor, pool: KvPool, layer: number, weights: Tensor): void {
    const kv = pool as GpuKvPool
    const { heads, word, type } = kv.layer(layer)
    const { at, stride, cols } = gpu(x)
    const { tables, window } = this.#planned()
    const place = [at, stride, window.blocks, window.row, tables.pages]
    this.#gpu.call({
      kernel: `convolve ${type}`,
      params: [...place, gpu(weights).at, weights.cols / cols, heads, kv.headDim, word, kv.pageBytes / 4],
      groups: [window.blockCount, Math.ceil(cols / 64)],
      kv: kv.buffer,
    })
  }

  activation(out: Tensor, gate: Tensor, up: Tensor, kind: Activation, rows: number): void {
    const [to, from, other] = [gpu(out), gpu(gate), gpu(up)]
    const params = [to.at, to.stride, from.at, from.stride, other.at, other.stride, gate.cols]
    this.#each(`activation ${kind}`, params, gate.cols, rows)
  }

  gatherRows(out: Tensor, x: Tensor, picked: readonly number[]): void {
    const [to, from] = [gpu(out), gpu(x)]
    const params = [to.at, to.stride, from.at, from.stride, this.#gpu.list(picked), x.cols]
    this.#each('gather', params, x.cols, picked.length)
  }

  async read(x: Tensor, rows: number, into?: Float32Array): Promise<Float32Array> {
    const { at, stride, cols } = gpu(x)
    const whole = stride === cols
    const runs = whole
      ? [{ at: at * 4, bytes: rows * cols * 4 }]
      : Array.from({ length: rows }, (_, row) => ({ at: (at + row * stride) * 4, bytes: cols * 4 }))
    const parts = await this.#gpu.readAll('activations', runs)
    if (whole && !into) return new Float32Array(defined(parts[0]))
    const values = into?.subarray(0, rows * cols) ?? new Float32Array(rows * cols)
    let to = 0
    for (const part of parts) {
      values.set(new Float32Array(part), to)
      to += part.byteLength / 4
    }
    return values
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#gpu.close()
    await this.#host.close()
  }

  #norm(out: GpuTensor, x: GpuTensor, weight: GpuTensor, width: number, eps: number, rows: number): void {
    this.#gpu.call({
      kernel: 'norm',
      params: [x.at, x.stride, out.at, out.stride, weight.at, width, f32(eps)],
      groups: [x.cols / width, rows],
    })
  }

  /** Runs a kernel with one thread for each column of each row. */
  #each(kernel: string, params: readonly number[], cols: number, rows: number): void {
    this.#gpu.call({ kernel, params, groups: [Math.ceil(cols / 64), rows] })
  }

  /** out = keep * out + factor * x. */
  #scaleAdd(out: GpuTensor, x: GpuTensor, rows: number, keep: number, factor: number): void {
    this.#each('scale_add', [out.at, out.stride, x.at, x.stride, x.cols, f32(keep), f32(factor)], x.cols, rows)
  }

  /** Throws `internal` before the first `plan`. */
  #planned(): Plan {
    if (!this.#plan) throw new ForetokenError('internal', 'no pass is planned')
    return this.#plan
  }
}
