/**
 * Makes shortlists of logits in the core: one scan in SIMD, where all logits stay in wasm memory.
 */
import { defined } from '../../base/at.ts'
import { ForetokenError } from '../../base/errors.ts'
import type { Shortlist, Shortlists, Tensor } from '../backend.ts'
import { notFinite } from '../scores.ts'
import type { Kernels } from './abi.ts'
import type { Arena } from './arena.ts'
import { finished, type WasmTensor, wasm } from './tensors.ts'

/**
 * Entries of the longest list. In logits that ascend, every one enters the list, which then moves:
 * 2 ms for a vocabulary of 49,152.
 */
const mostBest = 128

/** Bytes for the lists of a call: 15 of the longest. More rows take several calls. */
const roomBytes = 16_384

export class WasmBest implements Shortlists {
  readonly longest = mostBest
  readonly #kernels: Kernels
  readonly #arena: Arena
  readonly #room: number

  constructor(kernels: Kernels, arena: Arena) {
    this.#kernels = kernels
    this.#arena = arena
    this.#room = arena.alloc(roomBytes, 'tables')
  }

  async of(x: Tensor, rows: number, count: number): Promise<Shortlist[]> {
    const { at, stride, cols } = wasm(x)
    if (!(count >= 1 && count <= Math.min(mostBest, cols)))
      throw new ForetokenError('internal', `the best ${count} of ${cols} columns; give 1 to ${mostBest}`)
    const atOnce = Math.floor(roomBytes / 8 / (1 + count))
    const lists: Shortlist[] = []
    for (let row = 0; row < rows; row += atOnce)
      for (const list of this.#some({ at: at + row * stride * 4, stride, cols }, Math.min(atOnce, rows - row), count))
        lists.push(list)
    return lists
  }

  #some({ at, stride, cols }: Pick<WasmTensor, 'at' | 'stride' | 'cols'>, rows: number, count: number): Shortlist[] {
    const out = this.#room
    finished(this.#kernels.best_of_rows(out, at, stride, cols, count, rows), 'best_of_rows')
    const { floats, words, memory } = this.#arena
    const each = 1 + count
    const sums = new Float64Array(memory.buffer, out, rows * each)
    return Array.from({ length: rows }, (_, row) => {
      const [logits, ids] = [new Float32Array(count), new Int32Array(count)]
      for (let rank = 0, from = out / 4 + 2 * (row * each + 1); rank < count; rank++, from += 2) {
        logits[rank] = defined(floats[from])
        ids[rank] = defined(words[from + 1])
      }
      const logSum = defined(logits[0]) + Math.log(defined(sums[row * each]))
      if (!Number.isFinite(logSum)) throw notFinite(floats.subarray(at / 4 + row * stride).subarray(0, cols))
      return { logits, ids, logSum }
    })
  }
}
