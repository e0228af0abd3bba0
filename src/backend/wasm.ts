/** The Rust core as a `Backend`. Nothing else in foretoken touches wasm memory. */
import { ForetokenError } from '../errors.ts'
import type { KvBlock, KvCoding, KvPool, Segment, WireCodec } from '../types.ts'
import { type Kernels, kinds, kvTypeIds } from './abi.ts'
import type { Arena } from './arena.ts'
import type {
  Backend,
  KvPoolSpec,
  Limits,
  MemoryBalance,
  Moments,
  RopeSpec,
  Tensor,
  Weight,
  WeightSpec,
  WeightWriter,
} from './backend.ts'
import { type Stage, WasmKvCodec } from './kv-codec.ts'
import { WasmKvPool } from './kv-pool.ts'
import { PassTables } from './pass-tables.ts'
import { type Build, type Core, selectCore, type WasmModules } from './select.ts'
import type { ComputeWorker, Spawn } from './threads.ts'
import { expectWeights, type WasmWeight, weightWriter } from './weights.ts'
import { startWorkers } from './worker-pool.ts'

export type AttentionForm = 'float' | 'int'

export interface WasmOptions {
  readonly modules: WasmModules
  /** Default `auto`: the fastest build that answers its probe. */
  readonly build?: Build | 'auto'
  /**
   * What attention computes in. `int`: queries, keys and values in int8 and weights in 7 bits, about twice as fast from some hundred tokens on,
   * fastest on int8 pages; heads must have a multiple of 32 dimensions. Results differ a little. Default `float`.
   */
  readonly attention?: AttentionForm
  /** Compute threads, this one included; more than 1 needs `spawn` and shared memory. Default 1. */
  readonly threads?: number
  readonly spawn?: Spawn
}

interface WasmTensor extends Tensor {
  readonly at: number
  /** f32 elements from one row to the next. */
  readonly stride: number
}

interface WasmMoments extends Moments {
  readonly at: number
}

/** Bytes of K and V that are turned into bytes of the wire at once; more only if a unit is more. */
const stagingBytes = 1 << 18

/** Entries of page lists to have room for where the plan does not say. */
const leastPageEntries = 1024

export async function createWasmBackend(options: WasmOptions): Promise<Backend> {
  const threads = options.threads ?? 1
  if (!Number.isInteger(threads) || threads < 1 || threads > 64)
    throw new ForetokenError('bad_argument', `threads is ${threads}; it must be a whole number from 1 to 64`)
  if (threads > 1 && !options.spawn)
    throw new ForetokenError('unsupported', `${threads} threads need a platform with workers; use 1 thread here`)
  const attention = options.attention ?? 'float'
  if (attention !== 'float' && attention !== 'int')
    throw new ForetokenError('bad_argument', `attention is ${String(attention)}; it must be float or int`)
  const core = await selectCore(options.modules, options.build ?? 'auto', threads > 1)
  const workers = threads > 1 ? await startWorkers(core, threads, options.spawn!) : []
  return new WasmBackend(core, threads, workers, attention)
}

class WasmBackend implements Backend {
  readonly build: string
  readonly threads: number
  readonly #kernels: Kernels
  readonly #arena: Arena
  readonly #lowering: number
  /** What the attention kernel calls it: 0 floats, 1 + lowering integers. */
  readonly #attentionForm: number
  readonly #workers: readonly ComputeWorker[]
  readonly #tables: PassTables
  readonly #kvCodec: WasmKvCodec
  #staging: Stage | undefined
  #closed = false
  #limits: Required<Limits> = { tokens: 0, pageEntries: leastPageEntries, maxK: 0, headDim: 0, groups: [] }
  /** Scratch of all threads. */
  #scratch = { at: 0, bytes: 0 }
  /** Quantised activations: int8 values, scales, sums. */
  #quantised = { q: 0, s: 0, sums: 0, elements: 0 }
  /** Whose pages of which plan were last found to be in their pool. */
  #checked: { readonly plan: readonly Segment[]; readonly pool: WasmKvPool; readonly removals: number } | undefined

  constructor(core: Core, threads: number, workers: readonly ComputeWorker[], attention: AttentionForm) {
    this.build = `wasm-${core.build}${threads > 1 ? `-${threads}t` : ''}`
    this.threads = threads
    this.#kernels = core.kernels
    this.#arena = core.arena
    this.#lowering = core.lowering
    this.#attentionForm = attention === 'int' ? 1 + core.lowering : 0
    this.#workers = workers
    this.#tables = new PassTables(core.arena)
    this.#kvCodec = new WasmKvCodec(
      core.kernels,
      core.arena,
      (least) => this.#stage(least),
      (values) => this.#tables.list(values),
    )
  }

  memoryBytes(): number {
    return this.#arena.memory.buffer.byteLength
  }

  memory(): MemoryBalance {
    return this.#arena.balance
  }

  peak(ms: number): number {
    const kernels = this.#kernels
    const timed = (iterations: number) => {
      const begun = performance.now()
      kernels.peak_dot(iterations, this.#lowering)
      return performance.now() - begun
    }
    let iterations = 1024
    while (timed(iterations) < 1) iterations *= 2
    iterations = Math.max(1, Math.round((iterations * ms) / timed(iterations)))
    return (iterations * kernels.peak_dot_ops() * 1000) / timed(iterations)
  }

  prepare(wanted: Limits): void {
    const limits = largest(this.#limits, wanted)
    // Attention works on whole groups of a few rows, so that a larger group may need less.
    const bytes = limits.groups.reduce((most, group) => {
      return Math.max(most, this.#kernels.scratch_bytes(limits.maxK, limits.headDim, group))
    }, 0)
    if (bytes * this.threads > this.#scratch.bytes) {
      const at = this.#table(bytes * this.threads)
      this.#kernels.pool_set_scratch(at, bytes)
      if (this.#scratch.bytes > 0) this.#arena.free(this.#scratch.at)
      this.#scratch = { at, bytes: bytes * this.threads }
    }
    // A multiple of 512, so that scales and sums begin on a 64-byte boundary, too.
    const elements = Math.ceil((limits.tokens * Math.ceil(limits.maxK / 32)) / 16) * 512
    if (elements > this.#quantised.elements) {
      const had = this.#quantised
      // One region, so that there is none or all of it.
      const at = this.#table(elements + elements / 4)
      this.#quantised = { q: at, s: at + elements, sums: at + elements + elements / 8, elements }
      if (had.elements > 0) this.#arena.free(had.q)
    }
    this.#tables.reserve(limits.tokens, limits.headDim, limits.pageEntries)
    this.#limits = limits
  }

  tensor(rows: number, cols: number): WasmTensor {
    return { rows, cols, at: this.#table(rows * cols * 4), stride: cols }
  }

  columns(x: Tensor, from: number, count: number): WasmTensor {
    const { rows, at, stride } = wasm(x)
    if (from < 0 || from + count > x.cols)
      throw new ForetokenError('internal', `columns ${from}..${from + count} of a tensor with ${x.cols}`)
    return { rows, cols: count, at: at + from * 4, stride }
  }

  rows(x: Tensor, from: number): WasmTensor {
    const { rows, cols, at, stride } = wasm(x)
    if (from < 0 || from > rows) throw new ForetokenError('internal', `row ${from} of a tensor with ${rows}`)
    return { rows: rows - from, cols, at: at + from * stride * 4, stride }
  }

  write(x: Tensor, from: number, values: Float32Array): void {
    const { rows, cols, at, stride } = wasm(x)
    const count = values.length / cols
    if (stride !== cols || !Number.isInteger(count) || from < 0 || from + count > rows)
      throw new ForetokenError('internal', `${values.length} values do not fill rows of a (${rows}, ${cols}) tensor`)
    this.#arena.floats.set(values, at / 4 + from * cols)
  }

  vector(values: Float32Array): WasmTensor {
    const at = this.#arena.alloc(values.length * 4, 'weights')
    this.#arena.floats.set(values, at / 4)
    return { rows: 1, cols: values.length, at, stride: values.length } satisfies WasmTensor
  }

  expectWeights(specs: readonly WeightSpec[], beside: number): void {
    expectWeights(this.#kernels, this.#arena, specs, beside)
  }

  weight(spec: WeightSpec): WeightWriter {
    return weightWriter(this.#kernels, this.#arena, spec)
  }

  kvPool(spec: KvPoolSpec): KvPool {
    if (this.#attentionForm > 0 && spec.headDim % 32 !== 0)
      throw new ForetokenError(
        'unsupported',
        `attention in integers takes 32 dimensions at a time, and heads of this model have ${spec.headDim}: use attention float`,
      )
    return new WasmKvPool(this.#arena, this.#kernels, spec)
  }

  release(...what: readonly (Tensor | Weight | Moments)[]): void {
    for (const each of what) this.#arena.free((each as WasmTensor | WasmWeight | WasmMoments).at)
  }

  plan(segments: readonly Segment[], rope: RopeSpec): void {
    for (const worker of this.#workers) {
      const lost = worker.lost()
      if (lost) throw workerLost(lost)
    }
    this.#checked = undefined
    this.#tables.fill(segments, rope)
  }

  window(from: number, to: number): void {
    this.#tables.window(from, to)
  }

  embed(out: Tensor, embedding: Weight, ids: readonly number[]): void {
    const { at, kind, n, k } = embedding as WasmWeight
    const list = this.#tables.list(ids)
    const to = wasm(out)
    if (this.#kernels.embed_rows(to.at, to.stride, list, at, kind, ids.length, n, k) !== 0) {
      const bad = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < n))
      if (bad !== undefined)
        throw new ForetokenError('bad_argument', `token id ${bad} is outside the vocabulary 0..${n - 1}`)
      throw workerLost('embed_rows did not finish')
    }
  }

  rmsNorm(out: Tensor, x: Tensor, weight: Tensor, eps: number, rows: number): void {
    const to = wasm(out)
    const from = wasm(x)
    this.#run(
      this.#kernels.rms_norm(to.at, to.stride, from.at, from.stride, wasm(weight).at, rows, x.cols, eps),
      'rms_norm',
    )
  }

  matmul(out: Tensor, x: Tensor, weights: readonly Weight[], rows: number): void {
    this.#product(wasm(out), wasm(x), weights as readonly WasmWeight[], rows, 0)
  }

  matmulAdd(out: Tensor, x: Tensor, weight: Weight, rows: number): void {
    this.#product(wasm(out), wasm(x), [weight as WasmWeight], rows, 1)
  }

  addBias(x: Tensor, bias: Tensor, rows: number): void {
    const { at, stride } = wasm(x)
    this.#run(this.#kernels.add_bias(at, stride, 0, wasm(bias).at, bias.cols, rows), 'add_bias')
  }

  headNorm(x: Tensor, weight: Tensor, eps: number, rows: number): void {
    const { at, stride } = wasm(x)
    const heads = x.cols / weight.cols
    this.#run(this.#kernels.head_norm(at, stride, 0, heads, weight.cols, wasm(weight).at, rows, eps), 'head_norm')
  }

  rope(x: Tensor): void {
    const { at, stride } = wasm(x)
    const { headDim, pairs, angles, tokens } = this.#tables
    this.#run(this.#kernels.rope(at, stride, 0, x.cols / headDim, headDim, pairs, angles, tokens), 'rope')
  }

  writeKv(pool: KvPool, layer: number, k: Tensor, v: Tensor): void {
    const kv = this.#inPool(pool)
    const from = wasm(k)
    const status = this.#kernels.write_kv(
      kvTypeIds[kv.type],
      kv.layer(layer),
      kv.pageUnit,
      from.at,
      from.stride,
      0,
      (wasm(v).at - from.at) / 4,
      kv.heads(layer),
      kv.headDim,
      this.#tables.slots,
      this.#tables.tokens,
    )
    this.#run(status, 'write_kv')
  }

  attention(out: Tensor, q: Tensor, pool: KvPool, layer: number): void {
    const kv = this.#inPool(pool)
    const to = wasm(out)
    const from = wasm(q)
    const status = this.#kernels.attention(
      to.at,
      to.stride,
      from.at,
      from.stride,
      0,
      q.cols / kv.headDim,
      kv.heads(layer),
      kv.headDim,
      kvTypeIds[kv.type],
      kv.layer(layer),
      kv.pageUnit,
      this.#tables.segments,
      this.#tables.segmentCount,
      this.#tables.pages,
      1 / Math.sqrt(kv.headDim),
      this.#attentionForm,
    )
    this.#run(status, 'attention')
  }

  swiglu(out: Tensor, gate: Tensor, up: Tensor, rows: number): void {
    const to = wasm(out)
    const from = wasm(gate)
    if (wasm(up).at !== from.at + gate.cols * 4)
      throw new ForetokenError('internal', 'swiglu wants gate and up side by side in one tensor')
    this.#run(this.#kernels.swiglu(to.at, to.stride, from.at, from.stride, gate.cols, rows), 'swiglu')
  }

  gatherRows(out: Tensor, x: Tensor, picked: readonly number[]): void {
    const to = wasm(out)
    const from = wasm(x)
    const list = this.#tables.list(picked)
    this.#run(
      this.#kernels.gather_rows(to.at, to.stride, from.at, from.stride, list, x.cols, picked.length),
      'gather_rows',
    )
  }

  moments(rows: number, cols: number): WasmMoments {
    return { rows, cols, at: this.#table(rows * cols * 8) }
  }

  addMoments(sums: Moments, x: Tensor, y: Tensor, rows: number): void {
    const left = wasm(x)
    const right = wasm(y)
    if (sums.rows !== x.cols || sums.cols !== y.cols)
      throw new ForetokenError('internal', `${x.cols} x ${y.cols} products do not fit ${sums.rows} x ${sums.cols} sums`)
    const { at } = sums as WasmMoments
    const { moments } = this.#kernels
    this.#run(moments(at, left.at, left.stride, x.cols, right.at, right.stride, y.cols, rows), 'moments')
  }

  async readMoments(sums: Moments): Promise<Float64Array> {
    const { at, rows, cols } = sums as WasmMoments
    return new Float64Array(this.#arena.memory.buffer.slice(at, at + rows * cols * 8))
  }

  async read(x: Tensor, rows: number, into?: Float32Array): Promise<Float32Array> {
    const { at, stride, cols } = wasm(x)
    const { floats } = this.#arena
    if (stride === cols && !into) return floats.slice(at / 4, at / 4 + rows * cols)
    const values = into?.subarray(0, rows * cols) ?? new Float32Array(rows * cols)
    for (let row = 0; row < rows; row++) {
      const from = at / 4 + row * stride
      values.set(floats.subarray(from, from + cols), row * cols)
    }
    return values
  }

  kvBytes(pool: KvPool, layers: KvBlock['layers'], tokens: number, codec: WireCodec): number {
    return this.#kvCodec.bytes(pool as WasmKvPool, layers, tokens, codec)
  }

  async encodeKv(pool: KvPool, block: KvBlock, coding: KvCoding): Promise<Uint8Array<ArrayBuffer>> {
    return this.#kvCodec.encode(pool as WasmKvPool, block, coding)
  }

  async decodeKv(pool: KvPool, block: KvBlock, coding: KvCoding, bytes: Uint8Array): Promise<void> {
    this.#kvCodec.decode(pool as WasmKvPool, block, coding, bytes)
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#kernels.pool_stop?.()
    await Promise.all(this.#workers.map((worker) => worker.terminate()))
  }

  /** out (+)= x times each weight, quantising x once if any of them is quantised. */
  #product(out: WasmTensor, x: WasmTensor, weights: readonly WasmWeight[], rows: number, add: number): void {
    const { q, s, sums, elements } = this.#quantised
    const kernels = this.#kernels
    const k = x.cols
    let at = out.at
    let quantised = false
    for (const weight of weights) {
      const { kind, n } = weight
      if (weight.k !== k) throw new ForetokenError('internal', `a weight with k ${weight.k} meets x with ${k} columns`)
      const floats = kind === kinds.f32 || kind === kinds.f16 || kind === kinds.bf16
      if (!floats && !quantised) {
        if (rows * k > elements)
          throw new ForetokenError('internal', `${rows} x ${k} activations exceed the prepared ${elements}`)
        this.#run(kernels.quantize_q8(q, s, sums, x.at, x.stride, rows, k), 'quantize_q8')
        quantised = true
      }
      const status = floats
        ? kernels.gemm_f32(at, out.stride, x.at, x.stride, weight.at, rows, n, k, add, kind)
        : kind === kinds.u4
          ? kernels.gemm_u4(at, out.stride, q, s, sums, weight.at, rows, n, k, add, this.#lowering)
          : kernels.gemm_i8(at, out.stride, q, s, sums, weight.at, rows, n, k, add, kind, this.#lowering)
      this.#run(status, 'gemm')
      at += n * 4
    }
  }

  #run(status: number, kernel: string): void {
    if (status !== 0) throw workerLost(`${kernel} did not finish`)
  }

  /** The pool of K and V, whose pages those of the plan are: a page that was given back may hold anything by now. Throws `internal`. */
  #inPool(pool: KvPool): WasmKvPool {
    const kv = pool as WasmKvPool
    const { plan } = this.#tables
    const checked = this.#checked
    if (checked?.plan === plan && checked.pool === kv && checked.removals === kv.removals) return kv
    for (const { pages } of plan)
      for (const page of pages)
        if (!kv.has(page))
          throw new ForetokenError('internal', `KV page ${page} of a pass is not one of the ${kv.pages} of its pool`)
    this.#checked = { plan, pool: kv, removals: kv.removals }
    return kv
  }

  #table(bytes: number): number {
    return this.#arena.alloc(bytes, 'tables')
  }

  #stage(least: number): Stage {
    const had = this.#staging
    if (had && had.bytes >= least) return had
    const bytes = Math.max(least, stagingBytes)
    const made = { at: this.#table(bytes), bytes }
    if (had) this.#arena.free(had.at)
    this.#staging = made
    return made
  }
}

function wasm(x: Tensor): WasmTensor {
  return x as WasmTensor
}

function workerLost(why: string): ForetokenError {
  return new ForetokenError('worker_lost', `a compute thread was lost (${why}); close this engine and load it again`)
}

/** Several models share a backend: its scratch is as large as any of them needs. */
function largest(a: Required<Limits>, b: Limits): Required<Limits> {
  const tokens = Math.max(a.tokens, b.tokens)
  return {
    tokens,
    pageEntries: Math.max(a.pageEntries, b.pageEntries ?? 2 * tokens),
    maxK: Math.max(a.maxK, b.maxK),
    headDim: Math.max(a.headDim, b.headDim),
    groups: [...new Set([...a.groups, ...b.groups])],
  }
}
