/**
 * Reads GBNF, the grammars of llama.cpp, as its `grammars/README.md` describes them: rules `name ::= ...`
 * of literals, character classes, names, groups, alternatives, repetitions and comments.
 */
import { ForetokenError } from '../base/errors.ts'

/** A range of characters, both ends included, as code points. */
export type CharRange = readonly [from: number, to: number]

/** A part of a rule. */
export type Expression =
  | { readonly kind: 'literal'; readonly text: string }
  | { readonly kind: 'class'; readonly negated: boolean; readonly ranges: readonly CharRange[] }
  | { readonly kind: 'rule'; readonly name: string }
  | { readonly kind: 'sequence'; readonly parts: readonly Expression[] }
  | { readonly kind: 'choice'; readonly options: readonly Expression[] }
  | { readonly kind: 'repeat'; readonly part: Expression; readonly least: number; readonly most: number | undefined }

/** The character class that matches any character. */
export const anyCharacter: Expression = { kind: 'class', negated: true, ranges: [] }

/** Most groups inside each other. */
const deepest = 64
const name = /[a-zA-Z][a-zA-Z0-9_-]*/y
const bounds = /\{\s*(\d{1,6})\s*(,?)\s*(\d{1,6})?\s*\}/y
const escapes: Readonly<Record<string, string>> = {
  t: '\t',
  r: '\r',
  n: '\n',
  '\\': '\\',
  '"': '"',
  '[': '[',
  ']': ']',
}
const hexDigits: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 }

/** Returns the rules by name. Throws `bad_argument` with the line, and `unsupported` for tokens in a grammar. */
export function parseGbnf(text: string): Map<string, Expression> {
  return new Parser(text).rules()
}

class Parser {
  readonly #text: string
  #at = 0
  #depth = 0

  constructor(text: string) {
    this.#text = text
  }

  rules(): Map<string, Expression> {
    const rules = new Map<string, Expression>()
    this.#space(true)
    while (this.#at < this.#text.length) {
      const rule = this.#name()
      this.#space(false)
      if (!this.#take('::=')) throw this.#wrong(`::= is missing after the name ${rule}`)
      this.#space(true)
      if (rules.has(rule)) throw this.#wrong(`the rule ${rule} is defined twice`)
      rules.set(rule, this.#choice())
      if (this.#at < this.#text.length && !'\r\n'.includes(this.#here))
        throw this.#wrong(`${JSON.stringify(this.#here)} stands where the rule ${rule} should end`)
      this.#space(true)
    }
    return rules
  }

  #choice(): Expression {
    if (++this.#depth > deepest) throw this.#wrong(`groups are nested more than ${deepest} deep`)
    const options = [this.#sequence()]
    while (this.#take('|')) {
      this.#space(true)
      options.push(this.#sequence())
    }
    this.#depth--
    const [only] = options
    return options.length === 1 && only ? only : { kind: 'choice', options }
  }

  #sequence(): Expression {
    const parts: Expression[] = []
    for (let part = this.#item(); part; part = this.#item()) {
      this.#space(this.#depth > 1)
      parts.push(this.#repeated(part))
    }
    const [only] = parts
    return parts.length === 1 && only ? only : { kind: 'sequence', parts }
  }

  /** Reads one item without its repetition; undefined where the sequence ends. */
  #item(): Expression | undefined {
    const character = this.#here
    if (character === '"') return this.#literal()
    if (character === '[') return this.#class()
    if (character === '(') return this.#group()
    if (this.#take('.')) return anyCharacter
    if (character === '<' || character === '!')
      throw new ForetokenError(
        'unsupported',
        `GBNF, line ${this.#line}: tokens in a grammar (${character === '!' ? '!' : ''}<...>) are not supported; write their text as a literal`,
      )
    if (!/[a-zA-Z]/.test(character)) return undefined
    return { kind: 'rule', name: this.#name() }
  }

  #repeated(item: Expression): Expression {
    let part = item
    for (;;) {
      const [least, most] = this.#bounds() ?? []
      if (least === undefined) return part
      part = { kind: 'repeat', part, least, most }
      this.#space(this.#depth > 1)
    }
  }

  #bounds(): [least: number, most: number | undefined] | undefined {
    if (this.#take('*')) return [0, undefined]
    if (this.#take('+')) return [1, undefined]
    if (this.#take('?')) return [0, 1]
    if (this.#here !== '{') return undefined
    bounds.lastIndex = this.#at
    const found = bounds.exec(this.#text)
    if (!found) throw this.#wrong('a repetition is {m}, {m,} or {m,n}')
    this.#at = bounds.lastIndex
    const least = Number(found[1])
    const most = found[3] === undefined ? (found[2] ? undefined : least) : Number(found[3])
    if (most !== undefined && most < least) throw this.#wrong(`a repetition of ${least} to ${most} matches nothing`)
    return [least, most]
  }

  #group(): Expression {
    this.#at++
    this.#space(true)
    const inner = this.#choice()
    this.#space(true)
    if (!this.#take(')')) throw this.#wrong('a group is not closed')
    return inner
  }

  #literal(): Expression {
    this.#at++
    let text = ''
    while (!this.#take('"')) text += String.fromCodePoint(this.#character('a literal'))
    return { kind: 'literal', text }
  }

  #class(): Expression {
    this.#at++
    const negated = this.#take('^')
    const ranges: CharRange[] = []
    while (!this.#take(']')) {
      const from = this.#character('a character class')
      const ranged = this.#here === '-' && this.#text[this.#at + 1] !== ']'
      if (ranged) this.#at++
      const to = ranged ? this.#character('a character class') : from
      if (to < from) throw this.#wrong('a range of characters is in descending order')
      ranges.push([from, to])
    }
    if (ranges.length === 0 && !negated) throw this.#wrong('a character class is empty')
    return { kind: 'class', negated, ranges }
  }

  /** Reads a character, which may be escaped; returns its code point. */
  #character(inside: string): number {
    const code = this.#text.codePointAt(this.#at)
    if (code === undefined) throw this.#wrong(`${inside} is not closed`)
    this.#at += code > 0xffff ? 2 : 1
    return this.#scalar(code === 0x5c ? this.#escaped() : code)
  }

  #escaped(): number {
    const letter = this.#here
    this.#at++
    const plain = escapes[letter]
    if (plain !== undefined) return plain.charCodeAt(0)
    const digits = hexDigits[letter]
    if (digits === undefined) throw this.#wrong(`\\${letter} is not an escape of GBNF`)
    const hex = this.#text.slice(this.#at, this.#at + digits)
    if (!/^[0-9a-fA-F]+$/.test(hex) || hex.length < digits) throw this.#wrong(`\\${letter} takes ${digits} hex digits`)
    this.#at += digits
    return Number.parseInt(hex, 16)
  }

  #scalar(code: number): number {
    if (code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff)) return code
    throw this.#wrong(`U+${code.toString(16).toUpperCase()} is not a character`)
  }

  #name(): string {
    name.lastIndex = this.#at
    const [found] = name.exec(this.#text) ?? []
    if (found === undefined) throw this.#wrong('the name of a rule is missing')
    this.#at += found.length
    return found
  }

  /** Skips white space and comments; line ends only if `lines`. */
  #space(lines: boolean): void {
    for (;;) {
      const character = this.#here
      if (character === '#') while (this.#at < this.#text.length && !'\r\n'.includes(this.#here)) this.#at++
      else if (character === ' ' || character === '\t' || (lines && (character === '\n' || character === '\r')))
        this.#at++
      else return
      if (this.#at >= this.#text.length) return
    }
  }

  get #here(): string {
    return this.#text[this.#at] ?? ''
  }

  get #line(): number {
    return this.#text.slice(0, this.#at).split('\n').length
  }

  #take(token: string): boolean {
    if (!this.#text.startsWith(token, this.#at)) return false
    this.#at += token.length
    return true
  }

  #wrong(what: string): ForetokenError {
    return new ForetokenError('bad_argument', `GBNF, line ${this.#line}: ${what}`)
  }
}
