/**
 * Runs matrix products on the device: chooses the kernel by the rows, and lays x out for matrix
 * units.
 */
import { defined } from '../../base/at.ts'
import { ForetokenError } from '../../base/errors.ts'
import type { Gpu } from './gpu.ts'
import type { MatrixUnit } from './matrix-unit.ts'
import { matrixTile } from './shaders/matrix.ts'
import type { GpuTensor } from './tensors.ts'
import type { GpuWeight, Kind } from './weights.ts'

/** Maximum rows of the kernel that reads weights once for all rows. */
const fewRows = 4
/** Minimum rows for which matrix units are worth their tiles. */
const unitRows = 16

/** A kernel of threads, and the rows and outputs of its workgroup. */
const fewTile = ['gemm_few', fewRows, 16] as const
const smallTile = ['gemm_32', 32, 64] as const
const tile = ['gemm_64', 64, 64] as const
/** Bytes that a workgroup of `tile` holds at most: x, the weight, their sums and scales. */
const wideTileBytes = 64 * 32 * 4 + 64 * 32 * 4 + 2 * 64 * 4 + 2 * 64 * 8

export class Products {
  readonly #gpu: Gpu
  readonly #matrix: MatrixUnit | undefined
  /** True if tiles of 64 rows fit in a workgroup. */
  readonly #wide: boolean
  /** x laid out for matrix units, and what its rows were multiplied by. */
  #laid: Laid | undefined

  constructor(gpu: Gpu, matrix: MatrixUnit | undefined, { maxComputeWorkgroupStorageSize }: GPUSupportedLimits) {
    this.#gpu = gpu
    this.#matrix = matrix
    this.#wide = maxComputeWorkgroupStorageSize >= wideTileBytes
  }

  /** out (+)= x times each weight, side by side; `add` is 1 to add. */
  run(out: GpuTensor, x: GpuTensor, weights: readonly GpuWeight[], rows: number, add: number): void {
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

  /** Returns false for weights that f16 cannot hold, which threads multiply. */
  #unitTakes(kind: Kind): boolean {
    return defined(this.#matrix).from === 'f32' || (kind !== 'bf16' && kind !== 'f32')
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

/** The place of a product's result: its first element and row stride; `add` is 1 if it is added. */
interface Sum {
  readonly at: number
  readonly stride: number
  readonly add: number
}
