/**
 * The `Backend` on WebGPU: Dawn's in Node (Metal on macOS, Vulkan on Linux), or a browser's. A device is handed in.
 *
 * Calls are recorded and submitted when something is read: one submit a pass. Weights are uploaded once. Activations are f32, where the Wasm
 * core makes them int8 before a product: results differ from its by that rounding, and are nearer to the weights' own.
 */

import { ForetokenError } from '../../base/errors.ts'
import type { KvBlock, KvCoding, KvPool, WireCodec } from '../../base/kv.ts'
import type { Segment } from '../../base/pass.ts'
import type {
  Backend,
  KvPoolSpec,
  Limits,
  MemoryBalance,
  Moments,
  RopeSpec,
  Shortlist,
  Tensor,
  Weight,
  WeightSpec,
  WeightWriter,
} from '../backend.ts'
import { Best } from './best.ts'
import type { Features, MatrixUnit } from './features.ts'
import { f32, Gpu } from './gpu.ts'
import { GpuKvCodec } from './kv-codec.ts'
import { GpuKvPool } from './kv-pool.ts'
import { mostBest } from './shaders/best.ts'
import { shader } from './shaders/index.ts'
import { longestHead } from './shaders/kv.ts'
import { matrixTile } from './shaders/matrix.ts'
import { frequenciesOf, type Tables, tablesOf, type Window } from './tables.ts'
import { type GpuWeight, type Kind, weightWriter } from './weights.ts'

export interface WebGpuOptions {
  readonly device: GPUDevice
  /** Of the device, for `build`: `apple metal-3`, `swiftshader`. */
  readonly name: string
  readonly features: Features
  /** A Wasm core, which turns K and V into bytes of the wire. It is closed with this backend. */
  readonly host: Backend
  /** Most bytes of a weight in one buffer. Default: what the device binds. */
  readonly weightBytes?: number
}

interface GpuTensor extends Tensor {
  /** Index of its first f32 among the activations. */
  readonly at: number
  readonly stride: number
}

interface GpuMoments extends Moments {
  readonly sums: Float64Array
  readonly pending: Promise<void>[]
}

/** Rows up to which weights are read once for all of them. */
const fewRows = 4
/** Rows from which matrix units are worth their tiles. */
const unitRows = 16

/** A kernel of threads, and the rows and outputs of its workgroup. */
const fewTile = ['gemm_few', fewRows, 16] as const
const smallTile = ['gemm_32', 32, 64] as const
const tile = ['gemm_64', 64, 64] as const
/** What a workgroup of `tile` holds at most: x, the weight, their sums and scales. */
const wideTileBytes = 64 * 32 * 4 + 64 * 32 * 4 + 2 * 64 * 4 + 2 * 64 * 8

export function createWebGpuBackend(options: WebGpuOptions): Backend {
  return new WebGpuBackend(options)
}

class WebGpuBackend implements Backend {
  readonly build: string
  readonly threads = 1
  readonly longestShortlist = mostBest
  readonly #gpu: Gpu
  readonly #host: Backend
  readonly #codec: GpuKvCodec
  readonly #matrix: MatrixUnit | undefined
  readonly #best: Best
  readonly #weightBytes: number | undefined
  /** Whether tiles of 64 rows find room in a workgroup. */
  readonly #wide: boolean
  /** x laid out for matrix units, and what its rows were multiplied by. */
  #laid: Laid | undefined
  #tables: Tables | undefined
  #window: Window | undefined
  #rope: { spec: RopeSpec; frequencies: Float64Array } | undefined
  readonly #pools: GpuKvPool[] = []
  #closed = false

  constructor({ device, name, features, host, weightBytes }: WebGpuOptions) {
    this.#weightBytes = weightBytes
    this.build = `webgpu ${name}`
    this.#gpu = new Gpu(device, (kernel) => shader(kernel, features))
    this.#matrix = features.matrix
    this.#wide = device.limits.maxComputeWorkgroupStorageSize >= wideTileBytes
    this.#best = new Best(this.#gpu)
    this.#host = host
    this.#codec = new GpuKvCodec(host)
  }

  memoryBytes(): number {
    return this.memory().total
  }

  /** Buffers of the device, and the memory of the Wasm core beside it. */
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

  peak(): number {
    throw new ForetokenError('unsupported', 'a GPU has no rate test of one thread; time a product instead')
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

  /** A device tells what it binds, not what it has: weights are cut to that, and what is too much shows when it is uploaded. */
  expectWeights(): void {}

  weight(spec: WeightSpec): WeightWriter {
    return weightWriter(this.#gpu, spec, this.#weightBytes)
  }

  kvPool(spec: KvPoolSpec): KvPool {
    const pool = new GpuKvPool(this.#gpu, spec)
    this.#pools.push(pool)
    return pool
  }

  /** Weights only: tensors lie in one buffer, which keeps its size, and moments in the host's heap. */
  release(...what: readonly (Tensor | Weight | Moments)[]): void {
    for (const each of what)
      if ('parts' in each) for (const { buffer } of (each as GpuWeight).parts) this.#gpu.free(buffer)
  }

  plan(segments: readonly Segment[], rope: RopeSpec): void {
    if (this.#rope?.spec !== rope) this.#rope = { spec: rope, frequencies: frequenciesOf(rope) }
    this.#tables = tablesOf(segments, rope, this.#rope.frequencies)
    this.#gpu.setTables(this.#tables.words)
    this.window(0, segments.length)
  }

  window(from: number, to: number): void {
    this.#window = this.#tables!.window(from, to)
  }

  embed(out: Tensor, embedding: Weight, ids: readonly number[]): void {
    const { n, k, kind, blocks, parts } = embedding as GpuWeight
    const bad = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < n))
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
    this.#product(gpu(out), gpu(x), weights as readonly GpuWeight[], rows, 0)
  }

  matmulAdd(out: Tensor, x: Tensor, weight: Weight, rows: number): void {
    this.#product(gpu(out), gpu(x), [weight as GpuWeight], rows, 1)
  }

  addBias(x: Tensor, bias: Tensor, rows: number): void {
    const { at, stride } = gpu(x)
    this.#each('bias', [at, stride, gpu(bias).at, bias.cols], bias.cols, rows)
  }

  scaleColumns(x: Tensor, factors: Tensor, rows: number): void {
    const { at, stride } = gpu(x)
    this.#each('scale', [at, stride, gpu(factors).at, factors.cols], factors.cols, rows)
  }

  rope(x: Tensor): void {
    const { at, stride, cols } = gpu(x)
    const { headDim, pairs } = this.#rope!.spec
    const { row, rows } = this.#window!
    const angles = this.#tables!.angles + row * headDim
    const params = [at, stride, cols / headDim, headDim, pairs === 'adjacent' ? 1 : 0, angles]
    this.#each('rope', params, cols / 2, rows)
  }

  writeKv(pool: KvPool, layer: number, k: Tensor, v: Tensor): void {
    const kv = pool as GpuKvPool
    const { heads, word } = kv.layer(layer)
    const { at, stride } = gpu(k)
    const { tiles, tileCount, row } = this.#window!
    this.#gpu.call({
      kernel: `write_kv ${kv.type}`,
      params: [tiles, row, at, gpu(v).at, stride, word, kv.pageBytes / 4, heads, kv.headDim],
      groups: [tileCount, heads],
      kv: kv.buffer,
    })
  }

  attention(out: Tensor, q: Tensor, pool: KvPool, layer: number): void {
    const kv = pool as GpuKvPool
    const { heads: kvHeads, word } = kv.layer(layer)
    const [to, from] = [gpu(out), gpu(q)]
    const heads = q.cols / kv.headDim
    const { blocks, blockCount, row } = this.#window!
    const place = [to.at, to.stride, from.at, from.stride, blocks, row, this.#tables!.pages]
    this.#gpu.call({
      kernel: `attention ${kv.type}`,
      params: [...place, heads, kvHeads, kv.headDim, word, kv.pageBytes / 4, f32(1 / Math.sqrt(kv.headDim))],
      groups: [blockCount, heads],
      kv: kv.buffer,
    })
  }

  swiglu(out: Tensor, gate: Tensor, up: Tensor, rows: number): void {
    const [to, from, other] = [gpu(out), gpu(gate), gpu(up)]
    const params = [to.at, to.stride, from.at, from.stride, other.at, other.stride, gate.cols]
    this.#each('swiglu', params, gate.cols, rows)
  }

  gatherRows(out: Tensor, x: Tensor, picked: readonly number[]): void {
    const [to, from] = [gpu(out), gpu(x)]
    const params = [to.at, to.stride, from.at, from.stride, this.#gpu.list(picked), x.cols]
    this.#each('gather', params, x.cols, picked.length)
  }

  moments(rows: number, cols: number): GpuMoments {
    return { rows, cols, sums: new Float64Array(rows * cols), pending: [] }
  }

  /** Shaders have no f64: rows are read back and added up here. For fitting, which is not this backend's work. */
  addMoments(sums: Moments, x: Tensor, y: Tensor, rows: number): void {
    if (sums.rows !== x.cols || sums.cols !== y.cols)
      throw new ForetokenError('internal', `${x.cols} x ${y.cols} products do not fit ${sums.rows} x ${sums.cols} sums`)
    const { sums: into, pending } = sums as GpuMoments
    const values = Promise.all([this.read(x, rows), this.read(y, rows)])
    pending.push(
      values.then(([left, right]) => {
        for (let row = 0; row < rows; row++)
          for (let i = 0; i < x.cols; i++)
            for (let j = 0; j < y.cols; j++) into[i * y.cols + j]! += left[row * x.cols + i]! * right[row * y.cols + j]!
      }),
    )
  }

  async readMoments(sums: Moments): Promise<Float64Array> {
    const { sums: values, pending } = sums as GpuMoments
    await Promise.all(pending.splice(0))
    return values.slice()
  }

  async read(x: Tensor, rows: number, into?: Float32Array): Promise<Float32Array> {
    const { at, stride, cols } = gpu(x)
    const whole = stride === cols
    const runs = whole
      ? [{ at: at * 4, bytes: rows * cols * 4 }]
      : Array.from({ length: rows }, (_, row) => ({ at: (at + row * stride) * 4, bytes: cols * 4 }))
    const parts = await this.#gpu.readAll('activations', runs)
    if (whole && !into) return new Float32Array(parts[0]!)
    const values = into?.subarray(0, rows * cols) ?? new Float32Array(rows * cols)
    let to = 0
    for (const part of parts) {
      values.set(new Float32Array(part), to)
      to += part.byteLength / 4
    }
    return values
  }

  shortlists(x: Tensor, rows: number, count: number): Promise<Shortlist[]> {
    return this.#best.shortlists(gpu(x), rows, count)
  }

  kvBytes(pool: KvPool, layers: KvBlock['layers'], tokens: number, codec: WireCodec): number {
    return this.#codec.kvBytes(pool, layers, tokens, codec)
  }

  encodeKv(pool: KvPool, block: KvBlock, coding: KvCoding): Promise<Uint8Array<ArrayBuffer>> {
    return this.#codec.encodeKv(pool, block, coding)
  }

  decodeKv(pool: KvPool, block: KvBlock, coding: KvCoding, bytes: Uint8Array): Promise<void> {
    return this.#codec.decodeKv(pool, block, coding, bytes)
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

  /** A thread for each column of each row. */
  #each(kernel: string, params: readonly number[], cols: number, rows: number): void {
    this.#gpu.call({ kernel, params, groups: [Math.ceil(cols / 64), rows] })
  }

  #product(out: GpuTensor, x: GpuTensor, weights: readonly GpuWeight[], rows: number, add: number): void {
    const laid = this.#matrix && rows >= unitRows ? this.#lay(x, rows) : undefined
    let column = out.at
    for (const weight of weights) {
      const { n, k } = weight
      if (k !== x.cols) throw new ForetokenError('internal', `a weight with k ${k} meets x with ${x.cols} columns`)
      const to = { at: column, stride: out.stride, add }
      if (laid && this.#unitTakes(weight.kind)) this.#byUnits(to, laid, weight, rows)
      else this.#byThreads(to, x, weight, rows)
      column += n
    }
  }

  #byThreads({ at, stride, add }: Sum, x: GpuTensor, { kind, k, blocks, parts }: GpuWeight, rows: number): void {
    const [kernel, tileRows, outputs] = rows <= fewRows ? fewTile : rows <= 32 || !this.#wide ? smallTile : tile
    for (const { buffer, from, n } of parts)
      this.#gpu.call({
        kernel: `${kernel} ${kind}`,
        params: [x.at, x.stride, at + from, stride, rows, n, k, blocks, add],
        groups: [Math.ceil(n / outputs), Math.ceil(rows / tileRows)],
        weight: buffer,
      })
  }

  #byUnits({ at, stride, add }: Sum, { x, scales }: Laid, { kind, blocks, parts }: GpuWeight, rows: number): void {
    for (const { buffer, from, n } of parts)
      this.#gpu.call({
        kernel: `gemm_matrix ${kind}`,
        params: [scales, blocks * 32, at + from, stride, rows, n, blocks, add],
        groups: [Math.ceil(n / matrixTile.outputs), Math.ceil(rows / matrixTile.rows)],
        weight: buffer,
        kv: x,
      })
  }

  /** What units of f16 can't hold, threads multiply. */
  #unitTakes(kind: Kind): boolean {
    return this.#matrix!.from === 'f32' || (kind !== 'bf16' && kind !== 'f32')
  }

  #lay({ at, stride, cols }: GpuTensor, rows: number): Laid {
    const padded = Math.ceil(cols / 32) * 32
    const tiles = Math.ceil(rows / matrixTile.rows) * matrixTile.rows
    // Two of f16 or one of f32.
    const bytes = tiles * padded * 4
    if (!this.#laid || this.#laid.x.size < bytes || this.#laid.rows < tiles) {
      const x = this.#laid
        ? this.#gpu.replaced(this.#laid.x, Math.max(bytes, this.#laid.x.size), 'x for matrix units')
        : this.#gpu.buffer(bytes, 'x for matrix units')
      this.#laid = { x, rows: tiles, scales: this.#gpu.alloc(tiles) }
    }
    const { x, scales } = this.#laid
    this.#gpu.call({ kernel: 'lay_x', params: [at, stride, scales, cols, padded], groups: [rows, 1], kv: x })
    return this.#laid
  }
}

interface Laid {
  readonly x: GPUBuffer
  readonly rows: number
  readonly scales: number
}

/** Where a product goes: its first element and the distance of rows; `add` 1 where it is added. */
interface Sum {
  readonly at: number
  readonly stride: number
  readonly add: number
}

function gpu(x: Tensor): GpuTensor {
  return x as GpuTensor
}
