/**
 * Streams a weight's file bytes into the kernels' layout a few panels at a time, without a second
 * copy of the whole weight. While the workers repack one piece, the caller reads the next: a page of
 * fresh memory takes the system longer to provide than to fill, so the two take about as long.
 */
import { ForetokenError } from '../../base/errors.ts'
import { tensorBlocks } from '../../base/model.ts'
import type { Weight, WeightSpec, WeightWriter } from '../backend.ts'
import { type Kernels, tensorTypeIds } from './abi.ts'
import { type Arena, checkRegion, regionBytes } from './arena.ts'
import { finished } from './tensors.ts'

/** A weight in wasm memory. */
export interface WasmWeight extends Weight {
  readonly at: number
  readonly kind: number
}

/** Number of outputs in a panel; rows are repacked in multiples of it. */
const panel = 8

/**
 * Number of file bytes that are read at once; more only if eight rows are larger. They stay in a
 * cache of the processor until they are repacked.
 */
const stagingBytes = 1 << 18

/**
 * Returns the size of a weight in the kernels' layout and of one of its two stages, in bytes. Throws
 * `out_of_memory`, `unsupported`.
 */
function sizesOf(kernels: Kernels, { name, type, n, k }: WeightSpec): { weight: number; stage: number } {
  const block = tensorBlocks[type]
  if (k % block.elements !== 0)
    throw new ForetokenError(
      'unsupported',
      `${name}: ${k} columns are not a multiple of ${block.elements}, the block of ${type}`,
    )
  const weight = kernels.weight_bytes(kernels.weight_kind(tensorTypeIds[type]), n, k)
  const stage = Math.max(stagingBytes, panel * (k / block.elements) * block.bytes)
  checkRegion(weight, `${name} (${n} x ${k}, ${type})`)
  checkRegion(stage, `reading ${name}, eight rows of ${k} ${type} at once,`)
  return { weight, stage }
}

/** About what the tables and the scratch of passes take, which depends on more than the model, in bytes. */
const tableBytes = 1 << 20

/** Where memory for weights comes from, and how much of it is left, in bytes. */
interface Room {
  readonly bytes: number
  /** Ends a sentence that begins with a number of bytes. */
  readonly of: string
  readonly advice: string
}

/**
 * Makes room for weights before any is read. Throws `out_of_memory`, with the bytes that are missing,
 * if these and `beside` more bytes do not fit into what is left of the wasm memory, or into the `free`
 * bytes of the host. Specs with one row are vectors.
 */
export function expectWeights(
  kernels: Kernels,
  arena: Arena,
  specs: readonly WeightSpec[],
  { beside, free }: { readonly beside: number; readonly free: number },
): void {
  let [bytes, stages] = [0, 0]
  for (const spec of specs) {
    const { name, n, k } = spec
    if (n === 1) checkRegion(k * 4, `${name} (${k} values)`)
    const sizes = n === 1 ? { weight: k * 4, stage: 0 } : sizesOf(kernels, spec)
    bytes += regionBytes(sizes.weight)
    stages = Math.max(stages, 2 * sizes.stage)
  }
  const advice = 'use a smaller model, or one in fewer bits'
  const rooms: readonly Room[] = [
    { bytes: arena.room, of: "that are left of a wasm memory's 4 GiB", advice },
    { bytes: free, of: 'of memory that are free', advice: `end other programs, or ${advice}` },
  ]
  const needed = bytes + stages + beside
  for (const room of rooms) {
    if (needed <= room.bytes) continue
    const left = room.bytes - bytes - stages
    // A model that sees both ways reads a whole context in a pass.
    const pass = left > beside / 64 ? `load with a smaller context or passTokens, for a pass of ${left} bytes, or ` : ''
    throw new ForetokenError(
      'out_of_memory',
      `the weights take ${bytes} bytes, reading them ${stages} and a pass ${beside}: ${needed - room.bytes} more than the ` +
        `${room.bytes} ${room.of}; ${pass}${room.advice}`,
    )
  }
  // The first growth after this one would cost a full collection of the host, see `Arena.reserve`.
  arena.reserve(Math.min(needed + tableBytes, arena.room))
}

/**
 * Returns a writer for a weight. It frees its staging memory when the weight is complete. Throws
 * `out_of_memory`, `unsupported`.
 */
export function weightWriter(kernels: Kernels, arena: Arena, spec: WeightSpec): WeightWriter {
  const { name, type, n, k } = spec
  const block = tensorBlocks[type]
  const sizes = sizesOf(kernels, spec)
  const sourceType = tensorTypeIds[type]
  const kind = kernels.weight_kind(sourceType)
  // Repacking writes every byte of a panel, with zeros for rows that there are not.
  const at = arena.alloc(sizes.weight, 'weights', false)
  const rowBytes = (k / block.elements) * block.bytes
  const total = n * rowBytes
  // Each writer has its own stages, since two weights may be written alternately.
  const stages = arena.alloc(2 * sizes.stage, 'tables', false)
  /** The stage that is being filled; workers may be repacking the other. */
  let [stage, other] = [stages, stages + sizes.stage]
  let freed = false
  /** Number of rows repacked, or given to the workers; `waiting` is the number of bytes in the stage. */
  let row = 0
  let waiting = 0

  const drain = () => {
    const whole = Math.floor(waiting / rowBytes)
    const rows = row + whole === n ? whole : Math.floor(whole / panel) * panel
    if (rows === 0) return
    finished(kernels.repack_end(), 'repack')
    const used = rows * rowBytes
    arena.bytes.copyWithin(other, stage + used, stage + waiting)
    if (kernels.repack_start(sourceType, at, stage, row, rows, n, k) !== 0)
      throw new ForetokenError('internal', `${name}: repack refused ${rows} rows of ${type} at row ${row}`)
    row += rows
    waiting -= used
    ;[stage, other] = [other, stage]
  }

  return {
    reserve(bytes) {
      const left = total - row * rowBytes - waiting
      if (left <= 0) throw new ForetokenError('bad_model', `${name}: more than the expected ${total} bytes`)
      const room = Math.min(bytes, sizes.stage - waiting, left)
      return arena.bytes.subarray(stage + waiting, stage + waiting + room)
    },
    commit(bytes) {
      waiting += bytes
      if (waiting === sizes.stage || row * rowBytes + waiting === total) drain()
    },
    finish() {
      finished(kernels.repack_end(), 'repack')
      if (row !== n)
        throw new ForetokenError('bad_model', `${name}: ${row * rowBytes + waiting} of ${total} bytes arrived`)
      if (!freed) arena.free(stages)
      freed = true
      const weight: WasmWeight = { type, n, k, at, kind }
      return weight
    },
  }
}
