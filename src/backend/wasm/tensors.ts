/** Tensors in wasm memory, and what every kernel call shares. */
import { ForetokenError } from '../../base/errors.ts'
import type { Tensor } from '../backend.ts'

export interface WasmTensor extends Tensor {
  /** Byte address of the first element. */
  readonly at: number
  /** f32 elements from one row to the next. */
  readonly stride: number
}

export function wasm(x: Tensor): WasmTensor {
  return x as WasmTensor
}

/** Throws `worker_lost` for the status of a kernel that did not finish. */
export function finished(status: number, kernel: string): void {
  if (status !== 0) throw workerLost(`${kernel} did not finish`)
}

export function workerLost(why: string): ForetokenError {
  return new ForetokenError('worker_lost', `a compute thread was lost (${why}); close this engine and load it again`)
}
