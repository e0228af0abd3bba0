/** Which weights a model has: its fingerprint says only their shapes, and a fine-tuned model has the same. */
import { sha256Hex } from './sha256.ts'

/** Bytes of each piece of a tensor that are looked at. */
const sampleBytes = 256

/**
 * A hash of samples of every weight, taken as they are read: hashing all bytes would cost as much as loading them. Models that
 * differ in training differ in every matrix that was trained; an edit of single weights may go unseen.
 */
export class WeightIdentity {
  #samples: Uint8Array[] = []

  add(piece: Uint8Array): void {
    const middle = piece.length >> 1
    this.#samples.push(piece.slice(0, sampleBytes), piece.slice(middle, middle + sampleBytes))
  }

  /** sha256, hex, of the samples and the fingerprint of the model's shape. */
  async finish(fingerprint: string): Promise<string> {
    const text = new TextEncoder().encode(fingerprint)
    const all = new Uint8Array(this.#samples.reduce((sum, { length }) => sum + length, text.length))
    all.set(text)
    let at = text.length
    for (const sample of this.#samples) {
      all.set(sample, at)
      at += sample.length
    }
    this.#samples = []
    return sha256Hex(all)
  }
}
