/** Sums over the documents that a predictor is fitted from, made on the backend. */
import type { Backend, Tensor } from '../backend/backend.ts'

/** Sums over documents. */
export interface DocumentSums {
  /** The layer before which the exact pass may end; 0 if it is not needed. */
  readonly end: number
  addInput(input: Tensor, states: Tensor, rows: number): void
  addLayer(layer: number, input: Tensor, kv: Tensor, from: number, rows: number): void
  addBridge(input: Tensor, states: Tensor, from: number, rows: number): void
}

/** Returns ones, (rows, 1), which turn a product into a sum. */
export function onesOf(backend: Backend): Tensor {
  const ones = backend.tensor(1 << 12, 1)
  backend.write(ones, 0, new Float32Array(1 << 12).fill(1))
  return ones
}
