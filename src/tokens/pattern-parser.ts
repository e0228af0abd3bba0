/** Parses the regular expressions of tokenizers into alternatives of repeated parts. */
import { at, defined } from '../base/at.ts'

/** A part that may repeat more often than this counts as unbounded. */
const bounded = 64
/** Most alternatives, each of which a failed attempt tries. */
const maxAlternatives = 64
const maxPattern = 4096
const maxGroups = 4

interface Repeated {
  /** Its source text, without the quantifier. */
  readonly text: string
  readonly min: number
  readonly max: number
}

/** Holds the alternatives, each a list of parts, in the order in which they are tried. */
export type Alternatives = readonly (readonly Part[])[]

/** A letter, a class, a group or a look-around, with its quantifier. */
export type Part = Repeated &
  (
    | { readonly kind: 'character' | 'assertion'; readonly alternatives?: undefined }
    | { readonly kind: 'group'; readonly alternatives: Alternatives }
  )

/** Thrown for a pattern that is not known to be linear; the message says why. */
export class Unproved extends Error {}

/** Returns whether a part repeats a bounded number of times. */
export function isBounded({ max }: Part): boolean {
  return max <= bounded
}

/**
 * Parses patterns of Oniguruma, the dialect of `tokenizers`, to the extent that tokenizers use it.
 * Throws `Unproved` for anything else.
 */
export class Parser {
  readonly #source: string
  #at = 0
  /** Number of alternatives so far, not counting the first of each list. */
  #count = 0

  constructor(source: string) {
    if (source.length > maxPattern)
      throw new Unproved(`it has ${source.length} letters, and at most ${maxPattern} are read`)
    this.#source = source
  }

  alternatives(depth: number): Part[][] {
    const all: Part[][] = [[]]
    while (this.#at < this.#source.length && this.#source[this.#at] !== ')') {
      if (this.#accept('|')) {
        if (++this.#count > maxAlternatives) throw new Unproved(`more than ${maxAlternatives} alternatives`)
        all.push([])
      } else at(all, all.length - 1).push(this.#part(depth))
    }
    if (depth === 0 && this.#at < this.#source.length) throw new Unproved('its groups do not match')
    return all
  }

  #part(depth: number): Part {
    const from = this.#at
    const character = this.#source.charAt(from)
    if (character === '(') return this.#group(depth)
    if (character === '^' || character === '$') return this.#assertion(from, from + 1)
    if ('*+?{'.includes(character)) throw new Unproved(`a quantifier without a part at ${from}`)
    if (character === '[') this.#at = this.#classEnd(from)
    else if (character === '\\') {
      this.#at = this.#escapeEnd(from)
      if (/^\\[bBAzZG]$/.test(this.#source.slice(from, this.#at))) return this.#assertion(from, this.#at)
    } else this.#at += String.fromCodePoint(defined(this.#source.codePointAt(from))).length
    return { kind: 'character', text: this.#source.slice(from, this.#at), ...this.#quantifier() }
  }

  #group(depth: number): Part {
    const from = this.#at
    if (depth >= maxGroups) throw new Unproved('its groups are nested too deeply')
    const [opening = '('] = /^\((?:\?(?:i?:|<?[=!]))?/.exec(this.#source.slice(from, from + 4)) ?? []
    if (opening === '(' && this.#source[from + 1] === '?') throw new Unproved(`a group of another kind at ${from}`)
    this.#at += opening.length
    const alternatives = this.alternatives(depth + 1)
    if (!this.#accept(')')) throw new Unproved('its groups do not match')
    const text = this.#source.slice(from, this.#at)
    const parts = alternatives.flat()
    if (parts.some((part) => !isBounded(part))) throw new Unproved(`a repetition without a bound within ${text}`)
    if (/[=!]$/.test(opening)) {
      if (
        alternatives.some((inner) => inner.length > 1 || inner.some(({ kind, max }) => kind !== 'character' || max > 1))
      )
        throw new Unproved(`${text} looks at more than one letter`)
      return { kind: 'assertion', text, min: 1, max: 1 }
    }
    const quantifier = this.#quantifier()
    if (quantifier.max > 1) throw new Unproved(`a repeated group ${text}`)
    return { kind: 'group', text, alternatives, ...quantifier }
  }

  #assertion(from: number, to: number): Part {
    this.#at = to
    if ('*+?{'.includes(this.#source[to] ?? ' ')) throw new Unproved(`a repeated assertion at ${from}`)
    return { kind: 'assertion', text: this.#source.slice(from, to), min: 1, max: 1 }
  }

  /**
   * Reads a quantifier. A possessive one backtracks no more than a greedy one, and is read as such.
   */
  #quantifier(): { min: number; max: number } {
    const found = /^(?:([*+?])\+?|\{(\d{1,4})(?:(,)(\d{0,4}))?\})/.exec(this.#source.slice(this.#at, this.#at + 16))
    if (!found) {
      if (this.#source[this.#at] === '{') throw new Unproved(`a brace at ${this.#at}`)
      return { min: 1, max: 1 }
    }
    this.#at += found[0].length
    if ('*+?{'.includes(this.#source[this.#at] ?? ' '))
      throw new Unproved(`a quantifier of a quantifier at ${this.#at}`)
    const [, sign, least, comma, most] = found
    if (sign) return { min: sign === '+' ? 1 : 0, max: sign === '?' ? 1 : Infinity }
    const min = Number(least)
    const max = !comma ? min : most === '' ? Infinity : Number(most)
    if (max < min || max === 0 || min > bounded) throw new Unproved(`the quantifier ${found[0]}`)
    return { min, max: max > bounded ? Infinity : max }
  }

  /** Returns the position after a class, which may contain others. */
  #classEnd(from: number): number {
    let end = from + 1
    let depth = 1
    if (this.#source[end] === '^') end++
    if (this.#source[end] === ']') end++
    for (; end < this.#source.length; end++) {
      const character = this.#source[end]
      if (character === '\\') end++
      else if (character === '[') depth++
      else if (character === ']' && --depth === 0) return end + 1
      if (depth > maxGroups) throw new Unproved('its classes are nested too deeply')
    }
    throw new Unproved('its classes do not end')
  }

  /** Returns the position after an escape that matches one letter or none. */
  #escapeEnd(from: number): number {
    const rest = this.#source.slice(from, from + 40)
    const found =
      /^\\[pP]\{\^?[\w=]{1,32}\}/.exec(rest) ??
      /^\\[xu]\{[0-9A-Fa-f]{1,8}\}/.exec(rest) ??
      /^\\x[0-9A-Fa-f]{2}/.exec(rest) ??
      /^\\u[0-9A-Fa-f]{4}/.exec(rest) ??
      /^\\[sSdDwWhHnrtfvaebBAzZG]/.exec(rest) ??
      /^\\[^A-Za-z0-9]/.exec(rest)
    if (!found) throw new Unproved(`the escape ${rest.slice(0, 2)}`)
    return from + found[0].length
  }

  /** Moves past `text` if it comes next, and returns whether it does. */
  #accept(text: string): boolean {
    const comes = this.#source.startsWith(text, this.#at)
    if (comes) this.#at += text.length
    return comes
  }
}
