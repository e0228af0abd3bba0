/** Sums of products in f64 in wasm memory. */
import { ForetokenError } from '../../base/errors.ts'
import type { Fitting, Moments, Tensor } from '../backend.ts'
import type { Kernels } from './abi.ts'
import type { Arena } from './arena.ts'
import { finished, wasm } from './tensors.ts'

export interface WasmMoments extends Moments {
  /** Byte address. */
  readonly at: number
}

export class WasmFitting implements Fitting {
  readonly #kernels: Kernels
  readonly #arena: Arena

  constructor(kernels: Kernels, arena: Arena) {
    this.#kernels = kernels
    this.#arena = arena
  }

  moments(rows: number, cols: number): WasmMoments {
    return { rows, cols, at: this.#arena.alloc(rows * cols * 8, 'tables') }
  }

  add(sums: Moments, x: Tensor, y: Tensor, rows: number): void {
    const left = wasm(x)
    const right = wasm(y)
    if (sums.rows !== x.cols || sums.cols !== y.cols)
      throw new ForetokenError('internal', `${x.cols} x ${y.cols} products do not fit ${sums.rows} x ${sums.cols} sums`)
    const { at } = sums as WasmMoments
    const { moments } = this.#kernels
    finished(moments(at, left.at, left.stride, x.cols, right.at, right.stride, y.cols, rows), 'moments')
  }

  async read(sums: Moments): Promise<Float64Array> {
    const { at, rows, cols } = sums as WasmMoments
    return new Float64Array(this.#arena.memory.buffer.slice(at, at + rows * cols * 8))
  }
}
