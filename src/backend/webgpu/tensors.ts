/** Tensors among the activations of the device. */
import type { Tensor } from '../backend.ts'

export interface GpuTensor extends Tensor {
  /** Index of its first f32 among the activations. */
  readonly at: number
  readonly stride: number
}

export function gpu(x: Tensor): GpuTensor {
  return x as GpuTensor
}
