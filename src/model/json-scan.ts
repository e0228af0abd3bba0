/** Bounds what the JSON of a file may hold, before any of it is made. */
import { defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'

/** The most that JSON may hold. */
export interface JsonBounds {
  /** Maximum bytes of the text. */
  readonly bytes: number
  /** Objects, lists, their entries and their keys. */
  readonly values: number
  /** Maximum nesting of objects and lists. */
  readonly depth: number
  /** Bytes of the longest text. Default: any. */
  readonly text?: number
  /** Entries of the list or object at a path of at most two keys, such as `model.vocab`. */
  readonly entries?: Readonly<Record<string, number>>
}

const [quote, backslash, comma, colon] = [0x22, 0x5c, 0x2c, 0x3a]
const [openBrace, closeBrace, openBracket, closeBracket] = [0x7b, 0x7d, 0x5b, 0x5d]

/** Keys are followed this deep. */
const pathDepth = 2
/** Maximum bytes of a key that is tracked. */
const keyBytes = 64

/**
 * Counts what JSON holds without making any of it, in pieces of any length. It does not tell
 * whether the JSON is valid: what follows an error in it is counted somehow, and refused by the
 * parser. Throws `bad_model` beyond the bounds.
 */
export class JsonScan {
  readonly #name: string
  readonly #bounds: JsonBounds
  readonly #entries = new Map<string, number>()
  #values = 0
  #depth = 0
  /** Within a text; the byte behind a backslash is to be passed over. */
  #inText = false
  #escaped = false
  #textBytes = 0
  /** The current or last text, as far as a key needs it. */
  #text: number[] = []
  #follow = false
  /** The key of the current value at each depth, from 1 on. */
  readonly #keys: string[] = []
  /** The path of the container at each depth, where its entries are counted. */
  readonly #counted: (string | undefined)[] = []

  constructor(name: string, bounds: JsonBounds) {
    this.#name = name
    this.#bounds = bounds
  }

  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at++) {
      if (this.#inText) {
        at = this.#passText(bytes, at)
        continue
      }
      switch (bytes[at]) {
        case quote:
          this.#inText = true
          this.#textBytes = 0
          this.#text = []
          this.#follow = this.#bounds.entries !== undefined && this.#depth <= pathDepth
          break
        case comma:
          this.#count(1)
          this.#entry(1)
          break
        case colon:
          this.#count(1)
          if (this.#depth <= pathDepth) this.#keys[this.#depth] = this.#key()
          break
        case openBrace:
        case openBracket:
          this.#open()
          break
        case closeBrace:
        case closeBracket:
          this.#depth--
          break
      }
    }
  }

  /** Gives the last byte of the text, or of the piece. */
  #passText(bytes: Uint8Array, from: number): number {
    let at = from
    for (; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0
      if (this.#escaped) this.#escaped = false
      else if (byte === backslash) this.#escaped = true
      else if (byte === quote) {
        this.#inText = false
        break
      }
      if (this.#follow && this.#text.length < keyBytes) this.#text.push(byte)
    }
    this.#textBytes += at - from
    const { text } = this.#bounds
    if (text !== undefined && this.#textBytes > text) throw this.#bad(`a text of more than ${text} bytes`)
    return at
  }

  #open(): void {
    this.#depth++
    const { depth, entries } = this.#bounds
    if (this.#depth > depth) throw this.#bad(`objects and lists nested more than ${depth} deep`)
    this.#count(1)
    const path = entries && this.#depth <= pathDepth + 1 ? this.#keys.slice(1, this.#depth).join('.') : undefined
    this.#counted[this.#depth] = path !== undefined && Object.hasOwn(defined(entries), path) ? path : undefined
    this.#entry(1)
    if (this.#depth <= pathDepth) this.#keys[this.#depth] = ''
  }

  /** Counts an entry of the current container; an empty one counts as one. */
  #entry(count: number): void {
    const path = this.#counted[this.#depth]
    if (path === undefined) return
    const sum = (this.#entries.get(path) ?? 0) + count
    this.#entries.set(path, sum)
    const most = defined(defined(this.#bounds.entries)[path])
    if (sum > most) throw this.#bad(`more than ${most} entries in ${path}`)
  }

  #count(values: number): void {
    this.#values += values
    if (this.#values > this.#bounds.values) throw this.#bad(`more than ${this.#bounds.values} values`)
  }

  /** Returns the last text as JSON reads it, so that an escaped letter hides no key. */
  #key(): string {
    const text = String.fromCharCode(...this.#text)
    try {
      return text.includes('\\') ? String(JSON.parse(`"${text}"`)) : text
    } catch {
      return text
    }
  }

  #bad(what: string): ForetokenError {
    return new ForetokenError('bad_model', `${this.#name} has ${what}: no model that we know of comes near`)
  }
}
