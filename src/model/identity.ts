/** Identifies weights: a fingerprint covers only shapes, and a fine-tuned model has the same. */
import { defined } from '../base/at.ts'
import { sha256Hex } from '../base/hash.ts'

/** Bytes of each piece of a tensor that are looked at: at its front, and from its middle on. */
const sampleBytes = 256
/**
 * A piece ends where so many bytes of a matrix are full; rows are taken out of them eight at a
 * time.
 */
const stageBytes = 1 << 18
const panel = 8

/** Samples of one tensor, whose bytes come in order and in pieces of any length. */
export interface TensorSamples {
  add(bytes: Uint8Array): void
}

interface Window {
  readonly from: number
  readonly bytes: Uint8Array
}

/**
 * Hashes samples of every weight as it is read; hashing all bytes would cost as much as loading
 * them. Models that differ in training differ in every trained matrix; an edit of single weights
 * may go unseen. The places of samples follow from the tensor's shape alone, so that two ends of a
 * stream agree.
 */
export class WeightIdentity {
  readonly #samples: Uint8Array[] = []

  vector(bytes: Uint8Array): void {
    const samples = this.#windows([bytes.length])
    samples.add(bytes)
  }

  /** `bytes` in all, `rowBytes` a row. */
  matrix(bytes: number, rowBytes: number): TensorSamples {
    return this.#windows(piecesOf(bytes, rowBytes))
  }

  /** Returns the sha256, hex, of the samples and the fingerprint. */
  async finish(fingerprint: string): Promise<string> {
    const text = new TextEncoder().encode(fingerprint)
    const all = new Uint8Array(this.#samples.reduce((sum, { length }) => sum + length, text.length))
    all.set(text)
    let at = text.length
    for (const sample of this.#samples) {
      all.set(sample, at)
      at += sample.length
    }
    return sha256Hex(all)
  }

  #windows(pieces: readonly number[]): TensorSamples {
    // In one buffer: hosts take long to make thousands of small ones.
    const all = new Uint8Array(pieces.length * 2 * sampleBytes)
    const windows: Window[] = []
    let [begin, filled] = [0, 0]
    for (const length of pieces) {
      for (const from of [0, length >> 1]) {
        const bytes = all.subarray(filled, filled + Math.min(sampleBytes, length - from))
        windows.push({ from: begin + from, bytes })
        filled += bytes.length
      }
      begin += length
    }
    this.#samples.push(all.subarray(0, filled))
    let at = 0
    let first = 0
    return {
      add(bytes) {
        const end = at + bytes.length
        for (let index = first; index < windows.length && defined(windows[index]).from < end; index++) {
          const window = defined(windows[index])
          const last = window.from + window.bytes.length
          if (last <= at) {
            first = index + 1
            continue
          }
          const from = Math.max(window.from, at)
          window.bytes.set(bytes.subarray(from - at, Math.min(last, end) - at), from - window.from)
        }
        at = end
      },
    }
  }
}

/** Returns the lengths of a matrix's pieces, as the Rust core takes them in. */
function piecesOf(bytes: number, rowBytes: number): number[] {
  const stage = Math.max(stageBytes, panel * rowBytes)
  const pieces: number[] = []
  let [at, waiting] = [0, 0]
  while (at < bytes) {
    const length = Math.min(stage - waiting, bytes - at)
    pieces.push(length)
    at += length
    waiting += length
    waiting -= Math.floor(Math.floor(waiting / rowBytes) / panel) * panel * rowBytes
  }
  return pieces
}
