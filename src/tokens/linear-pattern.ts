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

import { at } from '../base/at.ts'
import { type Alternatives, isBounded, Parser, type Part, Unproved } from './pattern-parser.ts'

/** Most ways in which the bounded parts may match. */
const maxWays = 512
/** Most letters that the bounded parts of an alternative match, which a failed attempt may cost. */
const maxLength = 256

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
