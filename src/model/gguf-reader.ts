// biome-ignore-all lint/style/noNonNullAssertion: loops over typed arrays, whose indices are in bounds by construction
/** Walks through the front of a GGUF file, reads it in pieces as needed, and keeps them. */

import { defined } from '../base/at.ts'
import type { ByteSource } from '../base/bytes.ts'
import { ForetokenError } from '../base/errors.ts'
import type { PackedTexts } from '../base/model.ts'
import { show } from './json.ts'
import { limits } from './limits.ts'

/** Size of the first read, in bytes: the whole head of most models. Later pieces are larger. */
const firstPiece = 4 << 20

interface Piece {
  readonly from: number
  readonly bytes: Uint8Array
  readonly view: DataView
}

export class GgufReader {
  readonly source: ByteSource
  /** Position of the next byte. */
  at = 0
  readonly #pieces: Piece[] = []
  #elements = 0
  /** The piece that was used last. */
  #piece: Piece = { from: 0, bytes: new Uint8Array(0), view: new DataView(new ArrayBuffer(0)) }
  readonly #text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

  constructor(source: ByteSource) {
    this.source = source
  }

  bad(what: string): ForetokenError {
    return new ForetokenError('bad_model', `${this.source.name} ${what}`)
  }

  /**
   * Makes the next `count` bytes readable without waiting. Throws `bad_model` if the file or the
   * longest allowed head ends before them.
   */
  async need(count: number): Promise<void> {
    if (this.has(count)) return
    this.#checkEnd(this.at + count)
    const last = this.#pieces.at(-1)
    const bytes = new Uint8Array(
      Math.min(this.source.size - this.at, Math.max(count, last ? 2 * last.bytes.length : firstPiece)),
    )
    await this.source.read(this.at, bytes)
    this.#pieces.push({ from: this.at, bytes, view: new DataView(bytes.buffer) })
  }

  /** Returns true if the next `count` bytes can be read without waiting. */
  has(count: number): boolean {
    const at = this.at
    const { from, bytes } = this.#piece
    if (from <= at && at + count <= from + bytes.length) return true
    const piece = this.#pieces.findLast((piece) => piece.from <= at && at + count <= piece.from + piece.bytes.length)
    if (piece) this.#piece = piece
    return piece !== undefined
  }

  /**
   * Counts texts and lists that have to be read one by one. Throws `bad_model` beyond the needs of
   * any vocabulary.
   */
  countElements(count: number): void {
    this.#elements += count
    if (this.#elements > limits.ggufElements)
      throw this.bad(
        `has more than ${limits.ggufElements} texts and lists in its metadata: no model that we know of comes near`,
      )
  }

  /** Skips `count` bytes without reading them. */
  skip(count: number): void {
    this.#checkEnd(this.at + count)
    this.at += count
  }

  u32(): number {
    const at = this.#advance(4)
    return this.#piece.view.getUint32(at, true)
  }

  u64(what: string): number {
    const at = this.#advance(8)
    const { view } = this.#piece
    const value = view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32
    if (!Number.isSafeInteger(value)) throw this.bad(`has ${what} of ${value}`)
    return value
  }

  /** Reads a 64-bit count of elements of at least `least` bytes each. */
  count(what: string, limit: number, least: number): number {
    const count = this.u64(what)
    if (count > limit || count * least > this.source.size - this.at)
      throw this.bad(
        `says it has ${count} ${what}; its ${this.source.size} bytes can't hold them, or ${limit} is the limit`,
      )
    return count
  }

  /** Reads a number or flag of ggml's value type `type`. */
  scalar(type: number, key: string): number | boolean {
    const at = this.#advance(defined(scalarBytes[type]))
    const { view } = this.#piece
    switch (type) {
      case 0:
        return view.getUint8(at)
      case 1:
        return view.getInt8(at)
      case 2:
        return view.getUint16(at, true)
      case 3:
        return view.getInt16(at, true)
      case 4:
        return view.getUint32(at, true)
      case 5:
        return view.getInt32(at, true)
      case 6:
        return view.getFloat32(at, true)
      case 7:
        return view.getUint8(at) !== 0
      case 10:
      case 11: {
        const value = Number(type === 10 ? view.getBigUint64(at, true) : view.getBigInt64(at, true))
        if (!Number.isSafeInteger(value)) throw this.bad(`has ${show(key)} of ${value}`)
        return value
      }
      default:
        return view.getFloat64(at, true)
    }
  }

  async string(limit: number): Promise<string> {
    await this.need(8)
    const length = this.count('bytes of a text', limit, 1)
    await this.need(length)
    return this.#decode(length)
  }

  /**
   * Reads `count` texts of at most `limit` bytes each and `total` in all into one string; waits
   * only if more of the file has to be read. Decoding all of them in one call makes opening a model
   * fast.
   */
  async texts(count: number, limit: number, total: number): Promise<PackedTexts> {
    const begin = this.at
    const bytes = new Uint8Array(total)
    const ends = new Uint32Array(count)
    const done = { texts: 0, bytes: 0, units: 0 }
    let sound = this.#copyTexts(bytes, ends, limit, done)
    while (done.texts < count) {
      await this.need(8)
      const length = this.count('bytes of a text', limit, 1)
      this.at -= 8
      await this.need(8 + length)
      sound = this.#copyTexts(bytes, ends, limit, done) && sound
    }
    try {
      const text = this.#text.decode(bytes)
      if (sound) return { text, ends }
    } catch {
      // Reported below, with its place.
    }
    this.at = begin
    for (let i = 0; i < count; i++) await this.string(limit)
    throw new ForetokenError('internal', `${this.source.name} has texts that are UTF-8 one by one, and not together`)
  }

  /**
   * Copies the texts that lie in one piece, and counts their UTF-16 units. Returns false if one of
   * them begins in the middle of a character.
   */
  #copyTexts(
    into: Uint8Array,
    ends: Uint32Array,
    limit: number,
    done: { texts: number; bytes: number; units: number },
  ): boolean {
    let sound = true
    this.has(8)
    const { from, bytes, view } = this.#piece
    let at = this.at - from
    while (done.texts < ends.length && at >= 0 && at + 8 <= bytes.length) {
      const length = view.getUint32(at, true)
      const end = at + 8 + length
      if (view.getUint32(at + 4, true) !== 0 || length > limit || end > bytes.length) break
      if (length > 0 && (bytes[at + 8]! & 0xc0) === 0x80) sound = false
      for (at += 8; at < end; at++) {
        const byte = bytes[at]!
        into[done.bytes++] = byte
        if ((byte & 0xc0) !== 0x80) done.units += byte < 0xf0 ? 1 : 2
      }
      ends[done.texts++] = done.units
    }
    this.at = from + at
    this.#checkEnd(this.at)
    return sound
  }

  /** Skips those of `count` texts that lie in one piece; returns how many are left. */
  skipTexts(count: number): number {
    if (!this.has(8)) return count
    const { from, bytes, view } = this.#piece
    let at = this.at - from
    let left = count
    for (; left > 0 && at + 8 <= bytes.length; left--) {
      const end = at + 8 + view.getUint32(at, true)
      if (view.getUint32(at + 4, true) !== 0 || end > bytes.length) break
      at = end
    }
    this.at = from + at
    this.#checkEnd(this.at)
    return left
  }

  /**
   * Returns `count` numbers of one of ggml's types; their bytes must be readable without waiting.
   */
  numbers(type: number, count: number, key: string): ArrayLike<number> {
    if (type !== 4 && type !== 5 && type !== 6)
      return Array.from({ length: count }, () => Number(this.scalar(type, key)))
    const at = this.#advance(4 * count)
    const bytes = this.#piece.bytes.slice(at, at + 4 * count).buffer
    return type === 4 ? new Uint32Array(bytes) : type === 5 ? new Int32Array(bytes) : new Float32Array(bytes)
  }

  #decode(length: number): string {
    const from = this.at
    const at = this.#advance(length)
    try {
      return this.#text.decode(this.#piece.bytes.subarray(at, at + length))
    } catch {
      throw this.bad(`has a text at byte ${from} that is not UTF-8`)
    }
  }

  /** Advances by `count` bytes. Returns their position in `#piece`. */
  #advance(count: number): number {
    if (!this.has(count))
      throw new ForetokenError('internal', `${count} bytes at ${this.at} are used before they were read`)
    const at = this.at - this.#piece.from
    this.at += count
    return at
  }

  #checkEnd(end: number): void {
    if (end > this.source.size) throw this.bad(`is truncated: ${this.source.size} bytes end inside its head`)
    if (end > limits.ggufHead)
      throw this.bad(`has a head of more than ${limits.ggufHead} bytes: no model that we know of comes near`)
  }
}

/** Sizes of ggml's value types that are numbers or flags, in bytes. */
export const scalarBytes: Readonly<Record<number, number>> = {
  0: 1,
  1: 1,
  2: 2,
  3: 2,
  4: 4,
  5: 4,
  6: 4,
  7: 1,
  10: 8,
  11: 8,
  12: 8,
}
