/** Takes the file bytes of a weight, lays out its rows for the shaders, and uploads them. */

import { ForetokenError } from '../../base/errors.ts'
import { type TensorType, tensorBlocks } from '../../base/model.ts'
import type { WeightWriter } from '../backend.ts'
import { readers } from './blocks.ts'
import type { Gpu } from './gpu.ts'
import { type GpuWeight, kindOf, type Part, wordsOf } from './weights.ts'

/**
 * Takes a weight's file bytes, and uploads it when it is whole, in buffers of at most
 * `weightBytes`.
 */
export function weightWriter(
  gpu: Gpu,
  spec: { name: string; type: TensorType; n: number; k: number },
  weightBytes = Number.POSITIVE_INFINITY,
): WeightWriter {
  const { name, type, n, k } = spec
  const { elements, bytes: blockBytes } = tensorBlocks[type]
  if (k % elements !== 0)
    throw new ForetokenError(
      'unsupported',
      `${name}: ${k} columns are no multiple of ${elements}, the block of ${type}`,
    )
  const rowBytes = (k / elements) * blockBytes
  const total = n * rowBytes
  const kind = kindOf(type)
  const blocks = Math.ceil(k / 32)
  const { numbers, scales } = wordsOf[kind]
  const { maxStorageBufferBindingSize, maxBufferSize } = gpu.device.limits
  const most = Math.min(maxStorageBufferBindingSize, maxBufferSize, weightBytes)
  const perOutput = blocks * (numbers + scales) * 4
  const outputs = Math.min(n, Math.floor((most - 256) / perOutput))
  const staging = new Uint8Array(Math.max(rowBytes, Math.min(total, 1 << 18)))
  const parts: Part[] = []
  let words = new Uint32Array(0)
  let [row, waiting, arrived] = [0, 0, 0]

  /** Lays out the whole rows that wait. */
  const drain = () => {
    const whole = Math.floor(waiting / rowBytes)
    const view = new DataView(staging.buffer)
    for (let i = 0; i < whole; i++, row++) {
      const inPart = row % outputs
      const size = Math.min(outputs, n - (row - inPart))
      if (inPart === 0) words = new Uint32Array((perOutput / 4) * size)
      readers[type](view, i * rowBytes, k, (block, values, scale) => {
        const at = block * size + inPart
        words.set(values, at * numbers)
        if (scales > 0) words.set(scale, blocks * size * numbers + at * scales)
      })
      if (inPart === size - 1) parts.push({ buffer: upload(gpu, name, words), from: row - inPart, n: size })
    }
    staging.copyWithin(0, whole * rowBytes, waiting)
    waiting -= whole * rowBytes
  }

  return {
    reserve(bytes) {
      const left = total - arrived
      if (left <= 0) throw new ForetokenError('bad_model', `${name}: more than the expected ${total} bytes`)
      return staging.subarray(waiting, waiting + Math.min(bytes, staging.length - waiting, left))
    },
    commit(bytes) {
      waiting += bytes
      arrived += bytes
      if (waiting === staging.length || arrived === total) drain()
    },
    finish() {
      if (arrived !== total) throw new ForetokenError('bad_model', `${name}: ${arrived} of ${total} bytes arrived`)
      const weight: GpuWeight = { type, n, k, kind, blocks, parts }
      return weight
    },
  }
}

function upload(gpu: Gpu, name: string, words: Uint32Array<ArrayBuffer>): GPUBuffer {
  const buffer = gpu.buffer(words.byteLength, name, 'weights')
  gpu.device.queue.writeBuffer(buffer, 0, words)
  return buffer
}
