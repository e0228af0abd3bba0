/**
 * Decides whether a tokenizer's pattern finds all its matches in time linear in the text's length,
 * with a backtracking matcher. Only what can be proved is accepted: a pattern that is linear for
 * another reason is refused.
 *
 * A pattern is a list of alternatives, tried in order at each position. It is linear if each
 * attempt costs at most a constant, or as much as this match (or the next one) is long:
 *
 * - An alternative starts with parts of bounded length, which match in a bounded number of ways.
 *   From the first part without a bound on, every part may be empty: so it can't fail any more, and
 *   never backtracks.
 * - `X+(?!Y)`, where Y is the complement of X, backtracks by one.
 * - `X*Y`, `X*Y+` or `X+$` may fail at the end of a run of X. The next alternatives, such as
 *   `X+(?!Y)|X+`, must then match that run.
 * - `A*B+` may fail too, and then `A+B*` must come next, with the same parts around it: words with
 *   leading capitals.
 * - `(?<!X)X+Y` is tried once for a run of X, at its front.
 */
import { at, defined } from '../base/at.ts'

/** A part that may repeat more often than this counts as unbounded. */
const bounded = 64
/** Most ways in which the bounded parts may match. */
const maxWays = 512
/**
 * Limits on what a failed attempt costs: letters that the bounded parts of an alternative match,
 * and alternatives.
 */
const maxLength = 256
const maxAlternatives = 64
const maxPattern = 4096
const maxGroups = 4

interface Repeated {
  /** Its source text, without the quantifier. */
  readonly text: string
  readonly min: number
  readonly max: number
}

type Alternatives = readonly (readonly Part[])[]

type Part = Repeated &
  (
    | { readonly kind: 'character' | 'assertion'; readonly alternatives?: undefined }
    | { readonly kind: 'group'; readonly alternatives: Alternatives }
  )

/** Returns undefined for a linear pattern, otherwise why it is not known to be linear. */
export function whyNotLinear(pattern: string): string | undefined {
  try {
    prove(new Parser(pattern).alternatives(0))
    return undefined
  } catch (error) {
    if (error instanceof Unproved) return error.message
    throw error
  }
}

/** Returns the fewest UTF-16 units that a match has; 0 for a pattern that can't be read. */
export function shortestMatch(pattern: string): number {
  try {
    return shortest(new Parser(pattern).alternatives(0))
  } catch (error) {
    if (error instanceof Unproved) return 0
    throw error
  }
}

class Unproved extends Error {}

function shortest(alternatives: Alternatives): number {
  return alternatives.reduce(
    (least, parts) =>
      Math.min(
        least,
        parts.reduce((sum, part) => sum + lengthOf(part), 0),
      ),
    Infinity,
  )
}

function lengthOf({ kind, min, alternatives }: Part): number {
  return kind === 'assertion' ? 0 : kind === 'group' ? min * shortest(alternatives) : min
}

function longest(parts: readonly Part[]): number {
  return parts.reduce((sum, { max, alternatives = [] }) => {
    return sum + max * alternatives.reduce((most, inner) => Math.max(most, longest(inner)), 1)
  }, 0)
}

function prove(alternatives: Alternatives): void {
  for (const [index, parts] of alternatives.entries()) {
    const ways = waysOf(parts.filter(isBounded))
    if (ways > maxWays) throw new Unproved(`more than ${maxWays} ways to match its parts`)
    if (longest(parts.filter(isBounded)) > maxLength) throw new Unproved(`parts of more than ${maxLength} letters`)
    const first = parts.findIndex((part) => !isBounded(part))
    if (first < 0 || isFinal(parts, first)) continue
    if (runTakenNext(alternatives, index) || isCasedPair(parts, alternatives[index + 1]) || isTriedOnce(parts)) continue
    throw new Unproved(`it may go back in a run of ${at(parts, first).text}`)
  }
}

/** Returns whether nothing from part `first` on can fail, apart from one step back. */
function isFinal(parts: readonly Part[], first: number): boolean {
  const run = at(parts, first)
  const rest = parts.slice(first + 1)
  const [next] = rest
  if (next?.kind === 'assertion') return rest.length === 1 && run.min === 1 && excludes(next.text, run.text)
  return rest.every((part) => part.min === 0 && part.kind !== 'assertion')
}

/**
 * Accepts `X*Y`, `X*Y+` or `X+$`, any number of these on the same X, and then `X+`, or `X+(?!Y)`
 * and X again.
 */
function runTakenNext(alternatives: Alternatives, index: number): boolean {
  const { text } = at(at(alternatives, index), 0)
  const isRun = (part: Part | undefined): part is Part =>
    part?.kind === 'character' && part.text === text && part.max === Infinity
  const isRisky = (parts: readonly Part[]) => {
    const [run, end, ...rest] = parts
    return isRun(run) && end && rest.length === 0 && end.kind !== 'group' && end.min <= 1 && !isFinal(parts, 0)
  }
  let next = index
  while (isRisky(alternatives[next] ?? [])) next++
  if (next === index) return false
  const whole = alternatives[next] ?? []
  const [run, end] = whole
  if (!isRun(run) || run.min > 1 || !isFinal(whole, 0)) return false
  if (end?.kind !== 'assertion') return true
  // `X+(?!Y)` leaves a single X: if nothing matches it, the run is tried again from each place.
  const [last, ...more] = alternatives[next + 1] ?? []
  return last !== undefined && more.length === 0 && last.text === text && last.min <= 1
}

/** Accepts `(?<!X) X+ Y`, where Y is one letter or assertion. */
function isTriedOnce([before, run, last, ...rest]: readonly Part[]): boolean {
  if (before?.kind !== 'assertion' || !run || !last || rest.length > 0) return false
  return before.text === `(?<!${run.text})` && run.min <= 1 && last.kind !== 'group' && last.min <= 1
}

/** Accepts `P A* B+ S` followed by `P A+ B* S`. */
function isCasedPair(parts: readonly Part[], next: readonly Part[] | undefined): boolean {
  const first = parts.findIndex((part) => !isBounded(part))
  const [a, b] = [parts[first], parts[first + 1]]
  const [c, d] = [next?.[first], next?.[first + 1]]
  if (!next || !a || !b || !c || !d || next.length !== parts.length) return false
  const swapped =
    a.text === c.text &&
    b.text === d.text &&
    [a, b, c, d].every(({ kind, max }) => kind === 'character' && max === Infinity) &&
    a.min === 0 &&
    b.min === 1 &&
    c.min === 1 &&
    d.min === 0
  const same = parts.every((part, i) => i === first || i === first + 1 || sameParts(part, at(next, i)))
  return (
    swapped &&
    same &&
    parts.slice(first + 2).every((part) => isBounded(part) && part.min === 0 && part.kind !== 'assertion')
  )
}

function sameParts(a: Part, b: Part): boolean {
  return a.text === b.text && a.min === b.min && a.max === b.max
}

function isBounded({ max }: Part): boolean {
  return max <= bounded
}

/**
 * Returns in how many ways bounded parts can match. A group has the ways of all its alternatives.
 */
function waysOf(parts: readonly Part[]): number {
  return parts.reduce((product, { kind, min, max, alternatives }) => {
    const once = kind === 'group' ? alternatives.reduce((sum, inner) => sum + waysOf(inner), 0) : 1
    return product * (kind === 'group' ? once * max + (min === 0 ? 1 : 0) : max - min + 1)
  }, 1)
}

const opposites: Readonly<Record<string, string>> = {
  '\\s': '\\S',
  '\\S': '\\s',
  '\\d': '\\D',
  '\\D': '\\d',
  '\\w': '\\W',
  '\\W': '\\w',
}

/** Returns whether a text is `(?!Y)`, with Y the complement of `run`. */
function excludes(text: string, run: string): boolean {
  const inner = /^\(\?!(.*)\)$/s.exec(text)?.[1]
  return inner !== undefined && opposites[run] === inner
}

/**
 * Parses patterns of Oniguruma, the dialect of `tokenizers`, to the extent that tokenizers use it.
 * Throws `Unproved` for anything else.
 */
class Parser {
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
