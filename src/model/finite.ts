// biome-ignore-all lint/style/noNonNullAssertion: loops over typed arrays, whose indices are in bounds by construction
/**
 * Refuses matrices that hold NaN or an infinity, since the answers of such a model are meaningless.
 * Checks their bytes while they are read.
 */
import { ForetokenError } from '../base/errors.ts'
import { type TensorInfo, type TensorType, tensorBlocks } from '../base/model.ts'

type FloatType = 'f32' | 'f16' | 'bf16'
type BlockType = Exclude<TensorType, FloatType>

/**
 * Exponent bits of the one or two numbers in a 32-bit word. If all exponent bits of a number are
 * set, adding `carry` sets a bit of `odd`.
 */
const exponents: Readonly<Record<FloatType, { readonly mask: number; readonly carry: number; readonly odd: number }>> =
  {
    f32: { mask: 0x7f800000, carry: 0x00800000, odd: 0x80000000 },
    f16: { mask: 0x7c007c00, carry: 0x04000400, odd: 0x80008000 },
    bf16: { mask: 0x7f807f80, carry: 0x00800080, odd: 0x80008000 },
  }

/**
 * Offsets of the bytes of a block that hold the exponents of its scales (the high bytes of binary16
 * numbers), and the smallest, without the sign, that is refused: 0x7c is an infinity. The limit is
 * lower for formats whose scales a backend multiplies (by 2 or 8, by up to 15, 32, 63 or 128), so that the
 * product stays within binary16. The scale of mxfp4 is all exponent.
 */
const scales: Readonly<Record<BlockType, { readonly at: readonly number[]; readonly end: number }>> = {
  q4_0: { at: [1], end: 0x70 },
  q4_1: { at: [1, 3], end: 0x7c },
  q5_0: { at: [1], end: 0x7c },
  q5_1: { at: [1, 3], end: 0x7c },
  q8_0: { at: [1], end: 0x7c },
  q1_0: { at: [1], end: 0x78 },
  q2_0: { at: [1], end: 0x7c },
  q2_k: { at: [81, 83], end: 0x6c },
  q3_k: { at: [109], end: 0x68 },
  q4_k: { at: [1, 3], end: 0x64 },
  q5_k: { at: [1, 3], end: 0x64 },
  q6_k: { at: [209], end: 0x60 },
  iq4_nl: { at: [1], end: 0x7c },
  iq4_xs: { at: [1], end: 0x68 },
  mxfp4: { at: [0], end: 144 },
  tq1_0: { at: [53], end: 0x7c },
  tq2_0: { at: [65], end: 0x7c },
}

/** Checks one matrix, whose bytes may arrive in pieces of any length. */
export class FiniteCheck {
  readonly #tensor: Pick<TensorInfo, 'name' | 'type' | 'rows' | 'bytes'>
  /** Number of bytes of the tensor before the next piece. */
  #at = 0
  /** Bytes that do not fill a word yet. */
  #rest = new Uint8Array(0)

  constructor(tensor: Pick<TensorInfo, 'name' | 'type' | 'rows' | 'bytes'>) {
    this.#tensor = tensor
  }

  /** Checks the next bytes. Throws `bad_model` if they hold NaN or an infinity. */
  add(bytes: Uint8Array): void {
    const { type } = this.#tensor
    if (type === 'f32' || type === 'f16' || type === 'bf16') this.#floats(bytes, type)
    else this.#blocks(bytes, type)
    this.#at += bytes.length
  }

  #floats(bytes: Uint8Array, type: FloatType): void {
    const waiting = this.#rest.length
    let whole = bytes
    if (waiting > 0 || bytes.byteOffset % 4 !== 0) {
      whole = new Uint8Array(waiting + bytes.length)
      whole.set(this.#rest)
      whole.set(bytes, waiting)
    }
    const count = whole.length >> 2
    this.#words(new Int32Array(whole.buffer, whole.byteOffset, count), type, this.#at - waiting)
    this.#rest = whole.slice(count * 4)
    // A matrix may end in the middle of a word.
    if (this.#at + bytes.length < this.#tensor.bytes || this.#rest.length === 0) return
    const last = new Uint8Array(4)
    last.set(this.#rest)
    this.#words(new Int32Array(last.buffer), type, this.#tensor.bytes - this.#rest.length)
  }

  #words(words: Int32Array, type: FloatType, from: number): void {
    const { mask, carry, odd } = exponents[type]
    let [found, i] = [0, 0]
    // Four words at a time take half as long.
    for (const end = words.length - 3; i < end; i += 4)
      found |=
        ((words[i]! & mask) + carry) |
        ((words[i + 1]! & mask) + carry) |
        ((words[i + 2]! & mask) + carry) |
        ((words[i + 3]! & mask) + carry)
    for (; i < words.length; i++) found |= (words[i]! & mask) + carry
    if ((found & odd) === 0) return
    const word = words.findIndex((word) => (((word & mask) + carry) & odd) !== 0)
    const inSecond = type !== 'f32' && (((words[word]! & mask) + carry) & 0x8000) === 0
    this.#refuse(from + 4 * word + (inSecond ? 2 : 0))
  }

  #blocks(bytes: Uint8Array, type: BlockType): void {
    const { bytes: size } = tensorBlocks[type]
    const { at, end } = scales[type]
    const unsigned = type === 'mxfp4' ? 0xff : 0x7f
    for (const scale of at) {
      const first = (scale - (this.#at % size) + size) % size
      let most = 0
      for (let i = first; i < bytes.length; i += size) {
        const high = bytes[i]! & unsigned
        if (high > most) most = high
      }
      if (most < end) continue
      for (let i = first; i < bytes.length; i += size) if ((bytes[i]! & unsigned) >= end) this.#refuse(this.#at + i)
    }
  }

  #refuse(at: number): never {
    const { name, type, rows, bytes } = this.#tensor
    const row = Math.floor((at * rows) / bytes)
    const what = type === 'f32' || type === 'f16' || type === 'bf16' ? 'value' : 'scale'
    throw new ForetokenError(
      'bad_model',
      `${name} (${type}) holds a ${what} that is not finite in row ${row}${what === 'scale' ? ', or one too large to multiply with' : ''}: ` +
        'the file is damaged, or was converted wrongly; get it again',
    )
  }
}
