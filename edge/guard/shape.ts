/**
 * Counts what JSON holds while its bytes arrive, before it is parsed: as objects, a megabyte of
 * `{},{},` takes hundreds of times its size. Counting stops at the first fault, so that a body to
 * be refused is not read to its end.
 *
 * It checks what `JSON.parse` accepts silently: depth, values by kind, entries of the top-level
 * fields, keys that occur twice or name a prototype, halves of surrogate pairs. Whether the text is
 * JSON at all is left to `JSON.parse`.
 */
import { ApiError } from '../errors.ts'

export interface ShapeLimits {
  /** Nesting of lists and objects. */
  readonly depth: number
  /** Number of lists and objects. */
  readonly containers: number
  readonly strings: number
  /** Number of numbers, true, false and null. */
  readonly scalars: number
  /** Entries of one object. */
  readonly keys: number
  /** UTF-8 bytes of one key, with its escapes. */
  readonly keyBytes: number
  /** Entries of the list or object in a top-level field, by field. */
  readonly entries: Readonly<Record<string, number>>
}

/** More than any request needs. The schemas check the rest. */
export const shapeLimits: ShapeLimits = {
  depth: 64,
  containers: 8192,
  strings: 32_768,
  // The ids of a context of 131,072 tokens, and all other fields.
  scalars: 135_168,
  keys: 1024,
  keyBytes: 1024,
  entries: {},
}

/** A list or object that has begun and not ended. */
interface Container {
  readonly keys: Set<string> | undefined
  entries: number
}

const [quote, backslash, comma, colon, letterU] = [0x22, 0x5c, 0x2c, 0x3a, 0x75]
const [openList, closeList, openObject, closeObject] = [0x5b, 0x5d, 0x7b, 0x7d]

/** Counts one text. */
export class ShapeCounter {
  readonly #limits: ShapeLimits
  readonly #open: Container[] = []
  /** Index of the next byte. */
  #at = 0
  #containers = 0
  #strings = 0
  #scalars = 0
  #inString = false
  #escaped = false
  /** Digits seen after `\u`, as far as they may be a surrogate's; -1 elsewhere. */
  #hex = -1
  #surrogate = false
  /** Index of the first byte of the current string, after its quote. */
  #begun = 0
  /** True if the next string is a key. */
  #beforeKey = false
  /** True inside a number or a word. */
  #inScalar = false
  /** The top-level field whose value is being read. */
  #field = ''

  constructor(limits: ShapeLimits) {
    this.#limits = limits
  }

  /**
   * Counts up to byte `end` of `bytes`, the text so far. Throws an ApiError of 400 or 413 at the
   * first fault.
   */
  count(bytes: Uint8Array, end: number): void {
    for (; this.#at < end; this.#at++) {
      if (this.#inString && !this.#escaped && this.#hex < 0) this.#at = endOfPlain(bytes, this.#at, end)
      if (this.#at === end) return
      const byte = bytes[this.#at]
      if (byte === undefined) return
      if (this.#inString) this.#string(byte, bytes)
      else this.#between(byte)
    }
  }

  #string(byte: number, bytes: Uint8Array): void {
    if (this.#hex >= 0) this.#surrogateDigit(byte)
    if (this.#escaped) {
      this.#escaped = false
      if (byte === letterU) this.#hex = 0
    } else if (byte === backslash) this.#escaped = true
    else if (byte === quote) this.#endString(bytes)
  }

  /** Surrogates are `\ud800` to `\udfff`: the first digit is d, the second 8 to f. */
  #surrogateDigit(byte: number): void {
    const first = this.#hex === 0
    const lower = byte | 0x20
    const fits = first ? lower === 0x64 : byte === 0x38 || byte === 0x39 || (lower >= 0x61 && lower <= 0x66)
    if (fits && !first) this.#surrogate = true
    this.#hex = fits && first ? 1 : -1
  }

  #endString(bytes: Uint8Array): void {
    this.#inString = false
    this.#hex = -1
    const raw = bytes.subarray(this.#begun, this.#at)
    if (this.#surrogate && !textOf(raw).isWellFormed())
      throw invalid('a string has half of a surrogate pair; send whole characters')
    this.#surrogate = false
    const object = this.#open.at(-1)
    if (!this.#beforeKey || !object?.keys) return
    this.#beforeKey = false
    if (raw.length > this.#limits.keyBytes) throw invalid(`a key has more than ${this.#limits.keyBytes} bytes`)
    const key = textOf(raw)
    if (key === '__proto__') throw invalid('__proto__ is not a field', key)
    if (object.keys.has(key)) throw invalid(`the field ${JSON.stringify(key.slice(0, 100))} occurs twice`, key)
    object.keys.add(key)
    if (object.keys.size > this.#limits.keys) throw invalid(`an object has more than ${this.#limits.keys} fields`)
    if (this.#open.length === 1) this.#field = key
  }

  #between(byte: number): void {
    switch (byte) {
      case quote:
        this.#beginString()
        return
      case openList:
      case openObject:
        this.#begin(byte === openObject)
        return
      case closeList:
      case closeObject:
        this.#inScalar = false
        this.#open.pop()
        this.#beforeKey = false
        return
      case comma:
        this.#inScalar = false
        this.#beforeKey = this.#open.at(-1)?.keys !== undefined
        return
      case colon:
        this.#inScalar = false
        return
    }
    // White space ends a scalar. Any other byte outside of strings belongs to one.
    if (byte <= 0x20) this.#inScalar = false
    else if (!this.#inScalar) {
      this.#inScalar = true
      this.#value()
      this.#scalars = counted(this.#scalars, this.#limits.scalars, 'numbers')
    }
  }

  #beginString(): void {
    this.#inScalar = false
    if (!this.#beforeKey) this.#value()
    this.#strings = counted(this.#strings, this.#limits.strings, 'strings')
    this.#inString = true
    this.#begun = this.#at + 1
  }

  #begin(object: boolean): void {
    this.#inScalar = false
    this.#value()
    this.#containers = counted(this.#containers, this.#limits.containers, 'lists and objects')
    if (this.#open.length === this.#limits.depth)
      throw invalid(`lists and objects stand more than ${this.#limits.depth} deep in each other`)
    this.#open.push({ keys: object ? new Set() : undefined, entries: 0 })
    this.#beforeKey = object
  }

  /** Counts a value as an entry of its container. */
  #value(): void {
    const [, field, deeper] = this.#open
    if (!field || deeper) return
    field.entries++
    const most = Object.hasOwn(this.#limits.entries, this.#field) ? this.#limits.entries[this.#field] : undefined
    if (most === undefined || field.entries <= most) return
    if (this.#field === 'messages' || this.#field === 'input')
      throw new ApiError(413, `the conversation has more messages than the ${most} that are taken`, {
        code: 'too_many_messages',
        param: this.#field,
      })
    throw invalid(`${this.#field} has more than ${most} entries`, this.#field)
  }
}

/**
 * Returns the index of the first quote or backslash from `from` on. Most of a body is text, which
 * this skips fast.
 */
function endOfPlain(bytes: Uint8Array, from: number, end: number): number {
  for (let at = from; at < end; at++) if (bytes[at] === quote || bytes[at] === backslash) return at
  return end
}

const decoder = new TextDecoder()

/** Returns a string as `JSON.parse` reads it, or as it is written if that fails. */
function textOf(raw: Uint8Array): string {
  const text = decoder.decode(raw)
  if (!text.includes('\\')) return text
  try {
    return JSON.parse(`"${text}"`) as string
  } catch {
    return text
  }
}

function counted(count: number, most: number, what: string): number {
  if (count === most) throw invalid(`the body holds more than ${most} ${what}`)
  return count + 1
}

function invalid(message: string, param?: string): ApiError {
  return new ApiError(400, message, { code: 'invalid_value', param: param?.slice(0, 100) })
}
