/**
 * The values that a template computes with, and how Python shows them. Strings are marked (see
 * origin.ts).
 */
import type { Origin } from '../origin.ts'
import type { Budget } from './budget.ts'
import { type Key, Namespace, Real, typeName, type Value } from './value.ts'

/** Approximate memory of a concatenation, in characters. */
const pairSize = 16

/** Characters that JSON escapes, or may have to. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is escaped.
const notPlain = /[\x00-\x1f"\\]|[\ud800-\udfff]/gu
const notPlainAscii = /[^\x20-\x7e]|["\\]/gu

/** How many plain forms of marked strings are kept. */
const remembered = 64

/** Python's operations on values, within a budget. */
export class Values {
  readonly origin: Origin
  readonly budget: Budget
  readonly #plain = new Map<string, string>()

  constructor(origin: Origin, budget: Budget) {
    this.origin = origin
    this.budget = budget
  }

  /** Returns a string without its marks; length and positions are the same. */
  plain(text: string): string {
    this.budget.spend(text.length)
    if (text.isWellFormed()) return text
    const known = this.#plain.get(text)
    if (known !== undefined) return known
    const plain = this.origin.plain(text)
    if (this.#plain.size >= remembered) this.#plain.clear()
    this.#plain.set(text, plain)
    return plain
  }

  truth(value: Value): boolean {
    if (Array.isArray(value)) return value.length > 0
    if (value instanceof Map) return value.size > 0
    if (value instanceof Real) return value.value !== 0
    return Boolean(value)
  }

  /** Returns a value as a number, with booleans as 0 and 1, or undefined if it is not one. */
  number(value: Value): number | undefined {
    if (typeof value === 'number') return value
    if (typeof value === 'boolean') return Number(value)
    return value instanceof Real ? value.value : undefined
  }

  equal(a: Value, b: Value): boolean {
    this.budget.spend(1)
    if (typeof a === 'string' || typeof b === 'string')
      return typeof a === 'string' && typeof b === 'string' && a.length === b.length && this.plain(a) === this.plain(b)
    const [left, right] = [this.number(a), this.number(b)]
    if (left !== undefined || right !== undefined) return left === right
    if (Array.isArray(a) && Array.isArray(b))
      return a.length === b.length && this.#nested(() => a.every((item, at) => this.equal(item, b[at])))
    if (a instanceof Map && b instanceof Map)
      return (
        a.size === b.size && this.#nested(() => [...a].every(([key, item]) => this.equal(item, this.entry(b, key))))
      )
    return a === b
  }

  /**
   * Returns a negative number if a < b, a positive one if a > b, and 0 if they are equal. Throws an
   * Error for values without an order.
   */
  compare(a: Value, b: Value, caseSensitive = true): number {
    this.budget.spend(1)
    const [left, right] = [this.number(a), this.number(b)]
    if (left !== undefined && right !== undefined) return left - right
    if (typeof a === 'string' && typeof b === 'string') {
      const [one, other] = [this.plain(a), this.plain(b)]
      const [x, y] = caseSensitive ? [one, other] : [one.toLowerCase(), other.toLowerCase()]
      return x < y ? -1 : x > y ? 1 : 0
    }
    if (Array.isArray(a) && Array.isArray(b))
      return this.#nested(() => {
        for (let at = 0; at < Math.min(a.length, b.length); at++) {
          const order = this.compare(a[at], b[at], caseSensitive)
          if (order !== 0) return order
        }
        return a.length - b.length
      })
    throw new Error(`${typeName(a)} and ${typeName(b)} can't be compared`)
  }

  /** Returns a dict's entry by the plain text of its key, whoever wrote the key. */
  entry(dict: ReadonlyMap<Key, Value>, key: Key): Value {
    return dict.get(this.keyIn(dict, key))
  }

  /** Returns the key in the marked form that the dict has. */
  keyIn<K extends Key>(dict: ReadonlyMap<K, Value>, key: K): K {
    if (typeof key === 'number') return key
    this.budget.spend(key.length)
    if (dict.has(key)) return key
    const plain = this.plain(key)
    if (dict.has(plain as K)) return plain as K
    this.budget.spend(plain.length)
    return this.origin.mark(plain) as K
  }

  /**
   * Returns `left + right`. This costs no copy: engines keep such strings as pairs until they are
   * read.
   */
  joined(left: string, right: string): string {
    this.budget.spend(Math.min(left.length, right.length) + pairSize)
    this.budget.allow(left.length + right.length)
    return left + right
  }

  /** Returns the items that a loop visits. Throws an Error for a value that can't be iterated. */
  items(value: Value): Value[] {
    if (value === undefined) return []
    if (!Array.isArray(value) && !(value instanceof Map) && typeof value !== 'string')
      throw new Error(`${typeName(value)} can't be iterated`)
    this.budget.spendElements(value instanceof Map ? value.size : value.length)
    if (Array.isArray(value)) return value
    return value instanceof Map ? [...value.keys()] : Array.from(value)
  }

  /** Converts a value as Python's `str` does. */
  text(value: Value): string {
    if (typeof value === 'string') return value
    if (value === undefined) return ''
    return this.shown(value)
  }

  /** Converts a value as Python's `repr` does. */
  shown(value: Value): string {
    this.budget.spend(1)
    if (typeof value === 'string') return this.#quoted(value)
    if (typeof value === 'boolean') return value ? 'True' : 'False'
    if (typeof value === 'number') return this.#number(String(value))
    if (value === null) return 'None'
    if (value === undefined) return 'Undefined'
    if (value instanceof Real) return this.#number(realText(value.value))
    if (Array.isArray(value))
      return `[${this.#join(
        this.#nested(() => value.map((item) => this.shown(item))),
        ', ',
      )}]`
    const fields = value instanceof Namespace ? value.fields : value
    if (!(fields instanceof Map)) return `<${typeName(value)}>`
    const entries = this.#nested(() => [...fields].map(([key, item]) => `${this.shown(key)}: ${this.shown(item)}`))
    return `{${this.#join(entries, ', ')}}`
  }

  /** Converts a value as Python's `json.dumps` does, with `ensure_ascii` off by default. */
  json(value: Value, options: JsonOptions = {}, depth = 0): string {
    this.budget.spend(1)
    if (value === null || value === undefined) return 'null'
    if (typeof value === 'boolean') return String(value)
    if (typeof value === 'number') return this.#number(String(value))
    if (value instanceof Real) return this.#number(realText(value.value))
    if (typeof value === 'string') return this.#jsonString(value, options)
    const { indent } = options
    const [between, colon] = options.separators ?? [indent === undefined ? ', ' : ',', ': ']
    if (indent !== undefined) this.budget.spend(indent.length * (2 * depth + 1))
    const pad = indent === undefined ? '' : `\n${indent.repeat(depth + 1)}`
    const end = indent === undefined ? '' : `\n${indent.repeat(depth)}`
    const parts = this.#nested(() => {
      if (Array.isArray(value)) return value.map((item) => this.json(item, options, depth + 1))
      if (!(value instanceof Map)) throw new Error(`${typeName(value)} can't be written as JSON`)
      const entries = [...value]
      if (options.sortKeys) entries.sort(([a], [b]) => this.compare(a, b))
      return entries.map(
        ([key, item]) => this.#jsonString(String(key), options) + colon + this.json(item, options, depth + 1),
      )
    })
    const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}']
    if (parts.length === 0) return open + close
    return open + pad + this.#join(parts, between + pad) + end + close
  }

  /**
   * A number may come from a user, as a length or an argument of a tool. There is no way to know,
   * so it is marked as user text.
   */
  #number(text: string): string {
    this.budget.spend(text.length + pairSize)
    return this.origin.mark(text)
  }

  #jsonString(text: string, { ensureAscii = false }: JsonOptions): string {
    return `"${this.#escaped(text, ensureAscii ? notPlainAscii : notPlain, (character) => {
      const escaped = JSON.stringify(character).slice(1, -1)
      if (!ensureAscii || escaped < '\x7f') return escaped
      return Array.from({ length: character.length }, (_, at) => unicodeEscape(character.charCodeAt(at))).join('')
    })}"`
  }

  #quoted(text: string): string {
    const plain = this.plain(text)
    const quote = plain.includes("'") && !plain.includes('"') ? '"' : "'"
    const escapes: Readonly<Record<string, string>> = {
      '\\': '\\\\',
      '\n': '\\n',
      '\r': '\\r',
      '\t': '\\t',
      [quote]: `\\${quote}`,
    }
    return quote + this.#escaped(text, /[\\\n\r\t'"]/g, (character) => escapes[character] ?? character) + quote
  }

  /**
   * Escapes characters that `escapable` finds. The escape of a user's character is marked as user
   * text.
   */
  #escaped(text: string, escapable: RegExp, escapeOf: (character: string) => string): string {
    const plain = this.plain(text)
    this.budget.spend(text.length)
    let result = ''
    let done = 0
    for (const { 0: character, index } of plain.matchAll(escapable)) {
      const original = text.slice(index, index + character.length)
      const escaped = escapeOf(character)
      if (escaped === character) continue
      this.budget.spend(escaped.length + pairSize)
      const fromTemplate = original === character && this.origin.covers(character)
      result += text.slice(done, index) + (fromTemplate ? escaped : this.origin.mark(escaped))
      done = index + character.length
    }
    return result + text.slice(done)
  }

  /** Joins parts with a separator after counting the result. */
  #join(parts: readonly string[], between: string): string {
    this.budget.spend(parts.reduce((sum, { length }) => sum + length, parts.length * between.length))
    return parts.join(between)
  }

  #nested<T>(inside: () => T): T {
    this.budget.enter()
    const result = inside()
    this.budget.leave()
    return result
  }
}

/** Options of `tojson`. */
export interface JsonOptions {
  readonly indent?: string
  readonly separators?: readonly [between: string, colon: string]
  readonly sortKeys?: boolean
  readonly ensureAscii?: boolean
}

function realText(value: number): string {
  return Number.isInteger(value) && Math.abs(value) < 1e16 ? value.toFixed(1) : String(value)
}

function unicodeEscape(unit: number): string {
  return `\\u${unit.toString(16).padStart(4, '0')}`
}
