/** The Rust core as a `Backend`. Nothing else in foretoken touches wasm memory. */
import { defined } from '../../base/at.ts'
import { wrong } from '../../base/checks.ts'
import { ForetokenError } from '../../base/errors.ts'
import type { KvPool } from '../../base/kv.ts'
import type { Activation, AttentionSpec, RopeSpec } from '../../base/model.ts'
import { isWhole } from '../../base/numbers.ts'
import type { Segment } from '../../base/pass.ts'
import {
  aheadOf,
  type Backend,
  type Bench,
  type KvPoolSpec,
  type Limits,
  type MemoryBalance,
  type Moments,
  type Tensor,
  type Weight,
  type WeightSpec,
  type WeightWriter,
} from '../backend.ts'
import { anglesOf } from '../frequencies.ts'
import type { Kernels } from './abi.ts'
import type { Arena } from './arena.ts'
import { wasmBench } from './bench.ts'
import { WasmBest } from './best.ts'
import { WasmFitting, type WasmMoments } from './fitting.ts'
import { WasmKvCodec } from './kv-codec.ts'
import { WasmKvPool } from './kv-pool.ts'
import { PassTables } from './pass-tables.ts'
import { Products } from './products.ts'
import { type Build, type Core, selectCore, type WasmModules } from './select.ts'
import { finished, type WasmTensor, wasm, workerLost } from './tensors.ts'
import type { ComputeWorker, Spawn } from './threads.ts'
import { expectWeights, type WasmWeight, weightWriter } from './weights.ts'
import { startWorkers } from './worker-pool.ts'

export interface WasmOptions {
  readonly modules: WasmModules
  /** Default `auto`: the fastest build that answers its probe. */
  readonly build?: Build | 'auto'
  /** Compute threads, this one included; more than 1 needs `spawn` and shared memory. Default 1. */
  readonly threads?: number
  readonly spawn?: Spawn
  /**
   * What attention over int8 pages computes in: floats, or integers, which are faster behind long
   * prompts and differ a little. Other pages, and heads whose width is no multiple of 32, always take
   * floats. `int` needs a relaxed build. Default `auto`: integers where the build has them.
   */
  readonly attention?: AttentionForm | 'auto'
}

export type AttentionForm = 'float' | 'int'

/** Entries of page lists to have room for where the plan does not say. */
const leastPageEntries = 1024

export async function createWasmBackend(options: WasmOptions): Promise<Backend> {
  const threads = options.threads ?? 1
  if (!isWhole(threads, 1, 64)) throw wrong('threads', 'a whole number from 1 to 64', threads)
  if (threads > 1 && !options.spawn)
    throw new ForetokenError('unsupported', `${threads} threads need a platform with workers; use 1 thread here`)
  const core = await selectCore(options.modules, options.build ?? 'auto', threads > 1)
  // Before workers are started, which it would leave running.
  const integers = attendsInIntegers(core, options.attention ?? 'auto')
  const workers = threads > 1 ? await startWorkers(core, threads, defined(options.spawn)) : []
  return new WasmBackend(core, threads, workers, integers)
}

/** Throws `unsupported`. */
function attendsInIntegers({ build }: Core, wanted: AttentionForm | 'auto'): boolean {
  if (wanted === 'int' && build !== 'relaxed')
    throw new ForetokenError(
      'unsupported',
      `attention in integers needs a relaxed build of the core, and this is ${build}; use attention 'float' or 'auto'`,
    )
  return wanted !== 'float' && build === 'relaxed'
}

class WasmBackend implements Backend {
  readonly build: string
  readonly threads: number
  readonly fitting: WasmFitting
  readonly bench: Bench
  readonly wire: WasmKvCodec
  readonly shortlists: WasmBest
  readonly #kernels: Kernels
  readonly #arena: Arena
  readonly #products: Products
  readonly #workers: readonly ComputeWorker[]
  readonly #tables: PassTables
  readonly #integers: boolean
  /** The columns that vectors of factors change. */
  readonly #scaled = new WeakMap<Tensor, [column: number, factor: number][]>()
  #closed = false
  #limits: Sizes = { tokens: 0, pageEntries: leastPageEntries, maxK: 0, headDim: 0, groups: [] }
  /** Scratch of all threads. */
  #scratch = { at: 0, bytes: 0 }
  /** The plan and the pool whose pages were last checked. */
  #checked: { readonly plan: readonly Segment[]; readonly pool: WasmKvPool; readonly removals: number } | undefined

  constructor(core: Core, threads: number, workers: readonly ComputeWorker[], integers: boolean) {
    this.build = `wasm-${core.build}${threads > 1 ? `-${threads}t` : ''}`
    this.threads = threads
    this.#kernels = core.kernels
    this.#arena = core.arena
    this.#products = new Products(core.kernels, core.arena, core.lowering)
    this.#workers = workers
    this.#integers = integers
    this.#tables = new PassTables(core.arena)
    this.fitting = new WasmFitting(core.kernels, core.arena)
    this.shortlists = new WasmBest(core.kernels, core.arena)
    this.bench = wasmBench(core.kernels, core.lowering)
    this.wire = new WasmKvCodec(core.kernels, core.arena, (values) => this.#tables.list(values))
  }

  memoryBytes(): number {
    return this.#arena.memory.buffer.byteLength
  }

  memory(): MemoryBalance {
    return this.#arena.balance
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
    this.#products.reserve(limits.tokens, limits.maxK)
    const angles = wanted.ropes ? anglesOf(wanted.ropes) : limits.headDim
    this.#tables.reserve(limits.tokens, angles, limits.pageEntries)
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
    return new WasmKvPool(this.#arena, this.#kernels, spec)
  }

  release(...what: readonly (Tensor | Weight | Moments)[]): void {
    for (const each of what) this.#arena.free((each as WasmTensor | WasmWeight | WasmMoments).at)
  }

  plan(segments: readonly Segment[], ropes: readonly RopeSpec[]): void {
    for (const worker of this.#workers) {
      const lost = worker.lost()
      if (lost) throw workerLost(lost)
    }
    this.#checked = undefined
    this.#tables.fill(segments, ropes)
  }

  window(from: number, to: number): void {
    this.#tables.window(from, to)
  }

  embed(out: Tensor, embedding: Weight, ids: readonly number[]): void {
    const { at, kind, n, k } = embedding as WasmWeight
    const list = this.#tables.list(ids)
    const to = wasm(out)
    if (this.#kernels.embed_rows(to.at, to.stride, list, at, kind, ids.length, n, k) !== 0) {
      const bad = ids.find((id) => !isWhole(id, 0, n - 1))
      if (bad !== undefined)
        throw new ForetokenError('bad_argument', `token id ${bad} is outside the vocabulary 0..${n - 1}`)
      throw workerLost('embed_rows did not finish')
    }
  }

  rmsNorm(out: Tensor, x: Tensor, weight: Tensor, eps: number, rows: number): void {
    const to = wasm(out)
    const from = wasm(x)
    finished(
      this.#kernels.rms_norm(to.at, to.stride, from.at, from.stride, wasm(weight).at, rows, x.cols, eps),
      'rms_norm',
    )
  }

  matmul(out: Tensor, x: Tensor, weights: readonly Weight[], rows: number): void {
    this.#products.run(wasm(out), wasm(x), weights as readonly WasmWeight[], rows, 0)
  }

  matmulAdd(out: Tensor, x: Tensor, weight: Weight, rows: number): void {
    this.#products.run(wasm(out), wasm(x), [weight as WasmWeight], rows, 1)
  }

  addScaled(out: Tensor, x: Tensor, factor: number, rows: number): void {
    this.#scaleAdd(wasm(out), wasm(x), rows, 1, factor)
  }

  scale(x: Tensor, factor: number, rows: number): void {
    this.#scaleAdd(wasm(x), wasm(x), rows, 0, factor)
  }

  multiply(x: Tensor, y: Tensor, rows: number): void {
    const [to, from] = [wasm(x), wasm(y)]
    finished(this.#kernels.multiply(to.at, to.stride, from.at, from.stride, x.cols, rows), 'multiply')
  }

  softCap(x: Tensor, cap: number, rows: number): void {
    const { at, stride, cols } = wasm(x)
    finished(this.#kernels.soft_cap(at, stride, cols, rows, cap), 'soft_cap')
  }

  addBias(x: Tensor, bias: Tensor, rows: number): void {
    const { at, stride } = wasm(x)
    finished(this.#kernels.add_bias(at, stride, 0, wasm(bias).at, bias.cols, rows), 'add_bias')
  }

  scaleColumns(x: Tensor, factors: Tensor, rows: number): void {
    const { at, stride } = wasm(x)
    const { floats } = this.#arena
    let columns = this.#scaled.get(factors)
    if (!columns) {
      const from = wasm(factors).at / 4
      columns = [...floats.subarray(from, from + factors.cols).entries()].filter(([, factor]) => factor !== 1)
      this.#scaled.set(factors, columns)
    }
    // A few columns of a few layers of few models: not worth a kernel.
    for (const [column, factor] of columns)
      for (let row = 0, i = at / 4 + column; row < rows; row++, i += stride) floats[i] = defined(floats[i]) * factor
  }

  headNorm(x: Tensor, weight: Tensor, eps: number, rows: number): void {
    const { at, stride } = wasm(x)
    const heads = x.cols / weight.cols
    finished(this.#kernels.head_norm(at, stride, 0, heads, weight.cols, wasm(weight).at, rows, eps), 'head_norm')
  }

  rope(x: Tensor, index: number): void {
    const { at, stride } = wasm(x)
    const { headDim, turned, pairs, angles } = this.#tables.rope(index)
    const { tokens } = this.#tables
    finished(this.#kernels.rope(at, stride, 0, x.cols / headDim, headDim, turned, pairs, angles, tokens), 'rope')
  }

  writeKv(pool: KvPool, layer: number, k: Tensor, v: Tensor): void {
    const kv = this.#inPool(pool)
    const from = wasm(k)
    const status = this.#kernels.write_kv(
      kv.typeId(layer),
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
    finished(status, 'write_kv')
  }

  attention(out: Tensor, q: Tensor, pool: KvPool, layer: number, spec: AttentionSpec): void {
    const { scale, window = 0, softCap = 0 } = spec
    const ahead = aheadOf(spec)
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
      kv.typeId(layer),
      kv.layer(layer),
      kv.pageUnit,
      this.#tables.segments,
      this.#tables.segmentCount,
      this.#tables.pages,
      scale,
      window,
      ahead,
      softCap,
      this.#integers ? 1 : 0,
    )
    finished(status, 'attention')
  }

  convolve(x: Tensor, pool: KvPool, layer: number, weights: Tensor): void {
    const kv = this.#inPool(pool)
    const { at, stride, cols } = wasm(x)
    const status = this.#kernels.convolve(
      at,
      stride,
      wasm(weights).at,
      weights.cols / cols,
      kv.heads(layer),
      kv.headDim,
      kv.typeId(layer),
      kv.layer(layer),
      kv.pageUnit,
      this.#tables.segments,
      this.#tables.segmentCount,
      this.#tables.pages,
      this.#tables.tokens,
    )
    finished(status, 'convolve')
  }

  activation(out: Tensor, gate: Tensor, up: Tensor, kind: Activation, rows: number): void {
    const [to, from, other] = [wasm(out), wasm(gate), wasm(up)]
    const { activation } = this.#kernels
    const id = kind === 'gelu' ? 1 : 0
    const status = activation(to.at, to.stride, from.at, from.stride, other.at, other.stride, gate.cols, rows, id)
    finished(status, 'activation')
  }

  gatherRows(out: Tensor, x: Tensor, picked: readonly number[]): void {
    const to = wasm(out)
    const from = wasm(x)
    const list = this.#tables.list(picked)
    finished(
      this.#kernels.gather_rows(to.at, to.stride, from.at, from.stride, list, x.cols, picked.length),
      'gather_rows',
    )
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

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#kernels.pool_stop?.()
    await Promise.all(this.#workers.map((worker) => worker.terminate()))
  }

  /** out = keep * out + factor * x. */
  #scaleAdd(out: WasmTensor, x: WasmTensor, rows: number, keep: number, factor: number): void {
    finished(this.#kernels.scale_add(out.at, out.stride, x.at, x.stride, x.cols, rows, keep, factor), 'scale_add')
  }

  /**
   * Returns the pool after checking that it has all pages of the plan, since a freed page may hold
   * anything. Throws `internal`.
   */
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
}

type Sizes = Required<Omit<Limits, 'ropes'>>

/** Combines the limits of several models, which share the scratch of a backend. */
function largest(a: Sizes, b: Limits): Sizes {
  const tokens = Math.max(a.tokens, b.tokens)
  return {
    tokens,
    pageEntries: Math.max(a.pageEntries, b.pageEntries ?? 2 * tokens),
    maxK: Math.max(a.maxK, b.maxK),
    headDim: Math.max(a.headDim, b.headDim),
    groups: [...new Set([...a.groups, ...b.groups])],
  }
}
