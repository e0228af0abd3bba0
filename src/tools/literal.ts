/**
 * Reads and writes the arguments of calls that are not in JSON: literals of Python, and the notation
 * of Gemma, in which keys have no quotes and strings stand between two markers.
 */

import { beginningAtEnd } from './thinking.ts'

/** How values are written. */
export interface Notation {
  /** The bracket around the arguments of a call. */
  readonly open: '(' | '{'
  /** Between a name and its value. */
  readonly assign: '=' | ':'
  /** The text around a string; undefined for the quotes of Python. */
  readonly quote: string | undefined
}

export const python: Notation = { open: '(', assign: '=', quote: undefined }
export const bareKeys = (quote: string): Notation => ({ open: '{', assign: ':', quote })

const closer = ({ open }: Notation) => (open === '(' ? ')' : '}')

/** Finds the end of arguments that come in pieces; each character is read once. */
export class ArgumentsEnd {
  readonly #notation: Notation
  #depth = 0
  /** The quote that ends the string being read; undefined outside of strings. */
  #quote: string | undefined
  #escaped = false

  constructor(notation: Notation) {
    this.#notation = notation
  }

  /**
   * Reads on; the first text begins with the opening bracket. Returns how much was read, which leaves
   * out what may be the beginning of a quote, and whether the last bracket has been closed.
   */
  push(text: string): { readonly taken: number; readonly ended: boolean } {
    const { quote: mark } = this.#notation
    let at = 0
    while (at < text.length) {
      if (this.#quote === undefined) {
        if (mark !== undefined && isCut(mark, text, at)) break
        const quote = quoteAt(text, at, this.#notation)
        this.#quote = quote
        at += quote?.length ?? 1
        if (quote === undefined && this.#bracket(text.charAt(at - 1))) return { taken: at, ended: true }
      } else if (mark !== undefined) {
        const end = text.indexOf(mark, at)
        if (end < 0) return { taken: Math.max(at, text.length - beginningAtEnd(text, mark)), ended: false }
        at = end + mark.length
        this.#quote = undefined
      } else this.#inString(text.charAt(at++))
    }
    return { taken: at, ended: false }
  }

  #bracket(unit: string): boolean {
    if ('([{'.includes(unit)) this.#depth++
    return ')]}'.includes(unit) && --this.#depth === 0
  }

  #inString(unit: string): void {
    if (this.#escaped) this.#escaped = false
    else if (unit === '\\') this.#escaped = true
    else if (unit === this.#quote) this.#quote = undefined
  }
}

/** Returns whether a text ends, from `at` on, with a beginning of `mark`. */
function isCut(mark: string, text: string, at: number): boolean {
  return text.length - at < mark.length && mark.startsWith(text.slice(at))
}

function quoteAt(text: string, at: number, { quote }: Notation): string | undefined {
  if (quote !== undefined) return text.startsWith(quote, at) ? quote : undefined
  return text.charAt(at) === '"' || text.charAt(at) === "'" ? text.charAt(at) : undefined
}

/** Returns where a string ends, behind its last quote. */
function endOfString(text: string, from: number, quote: string, notation: Notation): number | undefined {
  if (notation.quote !== undefined) {
    const end = text.indexOf(quote, from)
    return end < 0 ? undefined : end + quote.length
  }
  for (let at = from; at < text.length; at++)
    if (text.charAt(at) === '\\') at++
    else if (text.charAt(at) === quote) return at + 1
  return undefined
}

/**
 * Returns arguments as JSON; undefined if they are not in this notation. `text` is what
 * `ArgumentsEnd` measured.
 */
export function argumentsAsJson(text: string, notation: Notation): string | undefined {
  const reader = new Reader(text, notation)
  const json = reader.fields(notation.open, closer(notation), notation.assign)
  return reader.failed || !reader.ended ? undefined : json
}

class Reader {
  readonly #text: string
  readonly #notation: Notation
  #at = 0
  failed = false

  constructor(text: string, notation: Notation) {
    this.#text = text
    this.#notation = notation
  }

  get ended(): boolean {
    this.#space()
    return this.#at === this.#text.length
  }

  /** Reads names and values between two brackets. */
  fields(open: string, close: string, assign: string): string {
    const fields: string[] = []
    if (!this.#take(open)) return this.#fail()
    while (!this.failed && !this.#take(close)) {
      const key = this.#key()
      if (!this.#take(assign)) return this.#fail()
      fields.push(`${key}: ${this.#value()}`)
      if (!this.#take(',') && !this.#next(close)) return this.#fail()
    }
    return `{${fields.join(', ')}}`
  }

  #space(): void {
    while (/\s/.test(this.#text.charAt(this.#at))) this.#at++
  }

  #next(sign: string): boolean {
    this.#space()
    return this.#text.startsWith(sign, this.#at)
  }

  #take(sign: string): boolean {
    const found = this.#next(sign)
    if (found) this.#at += sign.length
    return found
  }

  #fail(): string {
    this.failed = true
    return ''
  }

  #match(pattern: RegExp): string | undefined {
    this.#space()
    pattern.lastIndex = this.#at
    const [found] = pattern.exec(this.#text) ?? []
    if (found !== undefined) this.#at += found.length
    return found
  }

  #key(): string {
    this.#space()
    if (quoteAt(this.#text, this.#at, this.#notation) !== undefined) return this.#string()
    const name = this.#match(/[^\s=:,(){}[\]"']+/y)
    return name === undefined ? this.#fail() : JSON.stringify(name)
  }

  #value(): string {
    this.#space()
    if (quoteAt(this.#text, this.#at, this.#notation) !== undefined) return this.#string()
    if (this.#next('{')) return this.fields('{', '}', ':')
    if (this.#next('[')) return this.#list('[', ']')
    if (this.#notation.open === '(' && this.#next('(')) return this.#list('(', ')')
    const word = this.#match(/[-+.\w]+/y)
    if (word === undefined) return this.#fail()
    const constant = constants.get(word)
    if (constant !== undefined) return constant
    const number = Number(word.replaceAll('_', ''))
    if (/^[-+]?[\d.]/.test(word) && Number.isFinite(number))
      return /^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$/.test(word) ? word : JSON.stringify(number)
    return this.#fail()
  }

  #list(open: string, close: string): string {
    const items: string[] = []
    this.#take(open)
    while (!this.failed && !this.#take(close)) {
      items.push(this.#value())
      if (!this.#take(',') && !this.#next(close)) return this.#fail()
    }
    return `[${items.join(', ')}]`
  }

  #string(): string {
    const quote = quoteAt(this.#text, this.#at, this.#notation) ?? ''
    const from = this.#at + quote.length
    const end = endOfString(this.#text, from, quote, this.#notation)
    if (end === undefined) return this.#fail()
    this.#at = end
    const inside = this.#text.slice(from, end - quote.length)
    return JSON.stringify(this.#notation.quote === undefined ? unescaped(inside) : inside)
  }
}

const constants = new Map([
  ['True', 'true'],
  ['true', 'true'],
  ['False', 'false'],
  ['false', 'false'],
  ['None', 'null'],
  ['null', 'null'],
])

const escapes: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', b: '\b', f: '\f', '0': '\0', '\n': '' }

function unescaped(text: string): string {
  return text.replace(/\\(?:x([\da-f]{2})|u([\da-f]{4})|([\s\S]))/gi, (whole, byte, unit, sign) => {
    if (byte ?? unit) return String.fromCharCode(Number.parseInt(byte ?? unit, 16))
    return escapes[sign] ?? (/[\\'"]/.test(sign) ? sign : whole)
  })
}

/** Returns arguments in this notation. Strings go through `text`. */
export function writtenArguments(
  values: Readonly<Record<string, unknown>>,
  notation: Notation,
  text: (plain: string) => string = (plain) => plain,
): string {
  const between = notation.quote === undefined ? ', ' : ','
  const fields = Object.entries(values).map(([key, value]) => `${text(key)}${notation.assign}${written(value)}`)
  return notation.open + fields.join(between) + closer(notation)

  function written(value: unknown): string {
    if (typeof value === 'string')
      return notation.quote === undefined ? text(JSON.stringify(value)) : notation.quote + text(value) + notation.quote
    if (Array.isArray(value)) return `[${value.map(written).join(between)}]`
    if (typeof value === 'object' && value !== null) {
      const key = (name: string) => text(notation.quote === undefined ? JSON.stringify(name) : name)
      const inside = Object.entries(value).map(
        ([name, item]) => `${key(name)}:${notation.quote === undefined ? ' ' : ''}${written(item)}`,
      )
      return `{${inside.join(between)}}`
    }
    if (notation.quote !== undefined) return String(value)
    return value === true ? 'True' : value === false ? 'False' : value === null ? 'None' : String(value)
  }
}
