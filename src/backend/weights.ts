/** Streams a weight's file bytes into the kernels' layout, a few panels at a time, with no second copy of the whole. */
import { ForetokenError } from '../errors.ts'
import { type TensorType, tensorBlocks } from '../types.ts'
import { type Kernels, tensorTypeIds } from './abi.ts'
import type { Arena } from './arena.ts'
import type { Weight, WeightWriter } from './backend.ts'

/** A weight in wasm memory. */
export interface WasmWeight extends Weight {
  readonly at: number
  readonly kind: number
}

/** Outputs in a panel: rows are repacked in multiples of this. */
const panel = 8

export interface Staging {
  readonly at: number
  readonly bytes: number
}

export function weightWriter(
  kernels: Kernels,
  arena: Arena,
  staging: (bytes: number) => Staging,
  spec: { name: string; type: TensorType; n: number; k: number },
): WeightWriter {
  const { name, type, n, k } = spec
  const block = tensorBlocks[type]
  if (k % block.elements !== 0)
    throw new ForetokenError(
      'unsupported',
      `${name}: ${k} columns are no multiple of ${block.elements}, the block of ${type}`,
    )
  const sourceType = tensorTypeIds[type]
  const kind = kernels.weight_kind(sourceType)
  const at = arena.alloc(kernels.weight_bytes(kind, n, k))
  const rowBytes = (k / block.elements) * block.bytes
  const total = n * rowBytes
  const stage = staging(panel * rowBytes)
  /** Rows already laid out, and bytes waiting in the stage. */
  let row = 0
  let waiting = 0

  const drain = () => {
    const whole = Math.floor(waiting / rowBytes)
    const rows = row + whole === n ? whole : Math.floor(whole / panel) * panel
    if (rows === 0) return
    if (kernels.repack(sourceType, at, stage.at, row, rows, n, k) !== 0)
      throw new ForetokenError('internal', `${name}: repack refused ${rows} rows of ${type} at row ${row}`)
    row += rows
    const used = rows * rowBytes
    arena.bytes.copyWithin(stage.at, stage.at + used, stage.at + waiting)
    waiting -= used
  }

  return {
    reserve(bytes) {
      const left = total - row * rowBytes - waiting
      if (left <= 0) throw new ForetokenError('bad_model', `${name}: more than the expected ${total} bytes`)
      const room = Math.min(bytes, stage.bytes - waiting, left)
      return arena.bytes.subarray(stage.at + waiting, stage.at + waiting + room)
    },
    commit(bytes) {
      waiting += bytes
      if (waiting === stage.bytes || row * rowBytes + waiting === total) drain()
    },
    finish() {
      if (row !== n)
        throw new ForetokenError('bad_model', `${name}: ${row * rowBytes + waiting} of ${total} bytes arrived`)
      const weight: WasmWeight = { type, n, k, at, kind }
      return weight
    },
  }
}
