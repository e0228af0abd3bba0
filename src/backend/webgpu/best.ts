/** Shortlists of logits on the GPU: two kernels, and a read-back of a few numbers a row. */

import { ForetokenError } from '../../base/errors.ts'
import type { Shortlist, Shortlists, Tensor } from '../backend.ts'
import type { Gpu } from './gpu.ts'
import { bestNumbers, bestRun, mostBest, mostColumns } from './shaders/best.ts'
import { gpu } from './tensors.ts'

export class Best implements Shortlists {
  readonly longest = mostBest
  readonly #gpu: Gpu
  /** Room among the activations: its first number, and how many. */
  #room = { at: 0, numbers: 0 }

  constructor(gpu: Gpu) {
    this.#gpu = gpu
  }

  async of(x: Tensor, rows: number, count: number): Promise<Shortlist[]> {
    const { at, stride, cols } = gpu(x)
    if (!(count >= 1 && count <= Math.min(mostBest, cols)) || cols > mostColumns)
      throw new ForetokenError('internal', `the best ${count} of ${cols} columns; give 1 to ${mostBest}`)
    const runs = Math.ceil(cols / bestRun)
    const each = bestNumbers(count)
    const out = this.#reserve(rows * each * (runs + 1))
    const parts = out + rows * each
    this.#gpu.call({ kernel: 'best_of_run', params: [at, stride, cols, count, runs, parts], groups: [runs, rows] })
    this.#gpu.call({ kernel: 'best_of_all', params: [parts, count, runs, out], groups: [1, rows] })
    const numbers = new Float32Array(await this.#gpu.read('activations', out * 4, rows * each * 4))
    return Array.from({ length: rows }, (_, row) => shortlist(numbers.subarray(row * each, (row + 1) * each), count))
  }

  #reserve(numbers: number): number {
    if (this.#room.numbers < numbers) this.#room = { at: this.#gpu.alloc(numbers), numbers }
    return this.#room.at
  }
}

function shortlist(numbers: Float32Array, count: number): Shortlist {
  const [most, sum, wrong] = numbers.subarray(2 * count) as unknown as [number, number, number]
  const logSum = most + Math.log(sum)
  if (wrong > 0 || !Number.isFinite(logSum) || numbers[0]! <= -3.4e38)
    throw new ForetokenError(
      'internal',
      `${wrong > 0 ? `${wrong} logits are no numbers` : 'no logit is finite'}: the forward pass failed; please report the model and the build`,
    )
  return { logits: numbers.slice(0, count), ids: Int32Array.from(numbers.subarray(count, 2 * count)), logSum }
}
