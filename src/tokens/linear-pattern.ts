/**
 * Whether a tokenizer's pattern finds all its matches in a text in time linear in the text's length, with a matcher that backtracks. The
 * answer is proved or it is no: a pattern that is linear for another reason is refused.
 *
 * A pattern is a list of alternatives, tried in order at each position. It is linear if each attempt costs at most a constant, or as much as
 * the match (or the next one) is long:
 *
 * - An alternative has parts of bounded length in front, with a bounded number of ways to match them. From the first part without a
 *   bound on, every part may be empty: so it can't fail any more, and never goes back.
 * - `X+(?!Y)`, where Y is what X is not, goes back by one.
 * - `X*Y`, `X*Y+` or `X+$` may fail at the end of a run of X. The next alternatives, such as `X+(?!Y)|X+`, must then take that run.
 * - `A*B+` may, too, and then `A+B*` must come next, with the same parts around it: words with capitals in front.
 * - `(?<!X)X+Y` is tried once for a run of X, from its front.
 */

/** A part that is repeated more often than this has no bound. */
const bounded = 64
/** Ways to match the parts of bounded length. */
const maxWays = 512
/** Letters that the parts of bounded length of an alternative match, and alternatives: what a failed attempt costs. */
const maxLength = 256
const maxAlternatives = 64
const maxPattern = 4096
const maxGroups = 4

interface Part {
  readonly kind: 'character' | 'group' | 'assertion'
  /** What it matches as it is written, without the quantifier. */
  readonly text: string
  readonly min: number
  readonly max: number
  /** Of a group. */
  readonly alternatives?: readonly (readonly Part[])[]
}

/** Undefined for a pattern that is linear, else why it is not known to be. */
export function whyNotLinear(pattern: string): string | undefined {
  try {
    prove(new Parser(pattern).alternatives(0))
    return undefined
  } catch (error) {
    if (error instanceof Unproved) return error.message
    throw error
  }
}

/** The fewest letters (UTF-16) that a match has; 0 for a pattern that can't be read. */
export function shortestMatch(pattern: string): number {
  try {
    return shortest(new Parser(pattern).alternatives(0))
  } catch (error) {
    if (error instanceof Unproved) return 0
    throw error
  }
}

class Unproved extends Error {}

function shortest(alternatives: readonly (readonly Part[])[]): number {
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
  return kind === 'assertion' ? 0 : kind === 'group' ? min * shortest(alternatives!) : min
}

function longest(parts: readonly Part[]): number {
  return parts.reduce((sum, { max, alternatives = [] }) => {
    return sum + max * alternatives.reduce((most, inner) => Math.max(most, longest(inner)), 1)
  }, 0)
}

function prove(alternatives: readonly (readonly Part[])[]): void {
  for (let at = 0; at < alternatives.length; at++) {
    const parts = alternatives[at]!
    const ways = waysOf(parts.filter(isBounded))
    if (ways > maxWays) throw new Unproved(`more than ${maxWays} ways to match its parts`)
    if (longest(parts.filter(isBounded)) > maxLength) throw new Unproved(`parts of more than ${maxLength} letters`)
    const first = parts.findIndex((part) => !isBounded(part))
    if (first < 0 || isFinal(parts, first)) continue
    if (runTakenNext(alternatives, at) || isCasedPair(parts, alternatives[at + 1]) || isTriedOnce(parts)) continue
    throw new Unproved(`it may go back in a run of ${parts[first]!.text}`)
  }
}

/** From part `first` on nothing can fail, but for one step back. */
function isFinal(parts: readonly Part[], first: number): boolean {
  const rest = parts.slice(first + 1)
  const [next] = rest
  if (next?.kind === 'assertion')
    return rest.length === 1 && parts[first]!.min === 1 && excludes(next.text, parts[first]!.text)
  return rest.every((part) => part.min === 0 && part.kind !== 'assertion')
}

/** `X*Y`, `X*Y+`, `X+$`; further such on the same X; then `X+`, or `X+(?!Y)` and X again. */
function runTakenNext(alternatives: readonly (readonly Part[])[], at: number): boolean {
  const run = alternatives[at]![0]!
  const isRun = (part: Part | undefined) =>
    part?.kind === 'character' && part.text === run.text && part.max === Infinity
  const isRisky = (parts: readonly Part[]) =>
    parts.length === 2 && isRun(parts[0]) && parts[1]!.kind !== 'group' && parts[1]!.min <= 1 && !isFinal(parts, 0)
  let next = at
  while (next < alternatives.length && isRisky(alternatives[next]!)) next++
  if (next === at) return false
  const taken = alternatives[next] ?? []
  if (!isRun(taken[0]) || taken[0]!.min > 1 || !isFinal(taken, 0)) return false
  if (taken.length === 1) return true
  // `X+(?!Y)` leaves a single X: something must take it, or the run is tried again from each place.
  const last = alternatives[next + 1] ?? []
  return taken[1]!.kind !== 'assertion' || (last.length === 1 && last[0]!.text === run.text && last[0]!.min <= 1)
}

/** `(?<!X) X+ Y` with one letter or assertion for Y. */
function isTriedOnce([before, run, last, ...rest]: readonly Part[]): boolean {
  if (before?.kind !== 'assertion' || !run || !last || rest.length > 0) return false
  return before.text === `(?<!${run.text})` && run.min <= 1 && last.kind !== 'group' && last.min <= 1
}

/** `P A* B+ S` before `P A+ B* S`. */
function isCasedPair(parts: readonly Part[], next: readonly Part[] | undefined): boolean {
  const first = parts.findIndex((part) => !isBounded(part))
  const [a, b] = [parts[first]!, parts[first + 1]]
  const [c, d] = [next?.[first], next?.[first + 1]]
  if (!next || !b || !c || !d || next.length !== parts.length) return false
  const swapped =
    a.text === c.text &&
    b.text === d.text &&
    [a, b, c, d].every(({ kind, max }) => kind === 'character' && max === Infinity) &&
    a.min === 0 &&
    b.min === 1 &&
    c.min === 1 &&
    d.min === 0
  const same = parts.every((part, i) => i === first || i === first + 1 || sameParts(part, next[i]!))
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

/** How many ways there are to match parts of bounded length; a group's are those of all its alternatives. */
function waysOf(parts: readonly Part[]): number {
  return parts.reduce((product, { kind, min, max, alternatives }) => {
    const once = kind === 'group' ? alternatives!.reduce((sum, inner) => sum + waysOf(inner), 0) : 1
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

/** Whether a text is `(?!Y)`, with Y what `run` is not. */
function excludes(text: string, run: string): boolean {
  const inner = /^\(\?!(.*)\)$/s.exec(text)?.[1]
  return inner !== undefined && opposites[run] === inner
}

/** Reads patterns in the language of `tokenizers` (Oniguruma's), as far as tokenizers use it. Throws `Unproved` beyond. */
class Parser {
  readonly #source: string
  #at = 0
  /** Alternatives so far, but the first of each list. */
  #count = 0

  constructor(source: string) {
    if (source.length > maxPattern)
      throw new Unproved(`it has ${source.length} letters, and at most ${maxPattern} are read`)
    this.#source = source
  }

  alternatives(depth: number): Part[][] {
    const all: Part[][] = [[]]
    while (this.#at < this.#source.length && this.#source[this.#at] !== ')') {
      if (this.#take('|')) {
        if (++this.#count > maxAlternatives) throw new Unproved(`more than ${maxAlternatives} alternatives`)
        all.push([])
      } else all.at(-1)!.push(this.#part(depth))
    }
    if (depth === 0 && this.#at < this.#source.length) throw new Unproved('its groups do not match')
    return all
  }

  #part(depth: number): Part {
    const from = this.#at
    const character = this.#source[from]!
    if (character === '(') return this.#group(depth)
    if (character === '^' || character === '$') return this.#assertion(from, from + 1)
    if ('*+?{'.includes(character)) throw new Unproved(`a quantifier without a part at ${from}`)
    if (character === '[') this.#at = this.#classEnd(from)
    else if (character === '\\') {
      this.#at = this.#escapeEnd(from)
      if (/^\\[bBAzZG]$/.test(this.#source.slice(from, this.#at))) return this.#assertion(from, this.#at)
    } else this.#at += String.fromCodePoint(this.#source.codePointAt(from)!).length
    return { kind: 'character', text: this.#source.slice(from, this.#at), ...this.#quantifier() }
  }

  #group(depth: number): Part {
    const from = this.#at
    if (depth >= maxGroups) throw new Unproved('its groups are nested too deeply')
    const opening = /^\((?:\?(?:i?:|<?[=!]))?/.exec(this.#source.slice(from, from + 4))![0]
    if (opening === '(' && this.#source[from + 1] === '?') throw new Unproved(`a group of another kind at ${from}`)
    this.#at += opening.length
    const alternatives = this.alternatives(depth + 1)
    if (!this.#take(')')) throw new Unproved('its groups do not match')
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

  /** A possessive quantifier may go back less than a greedy one: it is read as such. */
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

  /** Behind a class, which may hold others. */
  #classEnd(from: number): number {
    let at = from + 1
    let depth = 1
    if (this.#source[at] === '^') at++
    if (this.#source[at] === ']') at++
    for (; at < this.#source.length; at++) {
      const character = this.#source[at]!
      if (character === '\\') at++
      else if (character === '[') depth++
      else if (character === ']' && --depth === 0) return at + 1
      if (depth > maxGroups) throw new Unproved('its classes are nested too deeply')
    }
    throw new Unproved('its classes do not end')
  }

  /** Behind an escape that stands for one letter or for none. */
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

  #take(text: string): boolean {
    const there = this.#source.startsWith(text, this.#at)
    if (there) this.#at += text.length
    return there
  }
}
