/** What the checks of a tokenizer.json share: how it is refused, its steps, and its patterns. */
import { ForetokenError } from '../base/errors.ts'
import { isObject, type Json, show } from '../model/json.ts'
import type { Vocabulary } from '../model/vocabulary.ts'
import { shortestMatch, whyNotLinear } from './linear-pattern.ts'

/** Kinds of tokenizers besides BPE. They are loaded with the models that need them. */
export interface MoreTokenizers {
  /** Their names and BPE's with a verb, for messages: 'BPE and WordPiece are'. */
  readonly types: string
  /** Returns a checked model; undefined for one of another type. Throws `bad_model`. */
  model(model: Json): Json | undefined
  /**
   * Returns a normalizer in the form that the library or `normalize` can take, and the factor by which
   * it may lengthen a text; undefined for one of another type. A text that all steps up to it make
   * longer than `most` times is refused when it is read. Throws `bad_model`.
   */
  normalizer(value: Json): { readonly json: Json; readonly times: number; readonly most?: number } | undefined
  /** Returns the tokens of a checked model whose `vocab` is not text -> id; undefined for another. */
  vocabulary?(model: Json): Vocabulary | undefined
  /**
   * Returns what appends the ids of a word; undefined for a checked model of another type. No word
   * may become a token of `special`.
   */
  encoder(
    model: Json,
    vocabulary: Vocabulary,
    special: ReadonlySet<number>,
  ): ((word: string, into: number[]) => void) | undefined
  /**
   * Returns a checked normalizer that the library does not have, or that has such steps; undefined for
   * others.
   */
  normalize?(json: Json | null): Normalize | undefined
}

export type Normalize = (text: string) => string

/** Most steps of normalizer and pre-tokenizer together. Published ones have up to seven. */
export const maxSteps = 32

/** Returns the error of a tokenizer that makes no sense. */
export function bad(what: string): ForetokenError {
  return new ForetokenError('bad_model', `the tokenizer can't be read: ${what}`)
}

/** Returns the error of a tokenizer with a feature that is not implemented. */
export function unsupported(what: string): ForetokenError {
  return new ForetokenError('unsupported', `the tokenizer can't be run: ${what}`)
}

/** How many steps of normalizer and pre-tokenizer may follow. */
export interface Steps {
  left: number
}

/** Counts a step. Throws `bad_model` if there are too many. */
export function step(steps: Steps): void {
  if (steps.left-- === 0) throw bad(`it has more than ${maxSteps} steps before the merges`)
}

/**
 * Published patterns that take quadratic time, each with one that finds the same in linear time: it
 * starts at the front of a run only.
 */
const linearForms: ReadonlyMap<unknown, string> = new Map([
  ['\\s+$', '(?<!\\s)\\s+$'],
  ['\\A +| +\\z', '\\A +|(?<! ) +\\z'],
])

/** Returns a pattern that finds the same as a published one in linear time; others as they are. */
export function linearForm(pattern: unknown): unknown {
  const linear = isObject(pattern) && linearForms.get(pattern.Regex)
  return linear ? { Regex: linear } : pattern
}

/** Checks that a pattern takes linear time, and returns the fewest characters that it matches. */
export function checkedPattern(pattern: unknown, where: string): number {
  const { String: text, Regex: regex } = isObject(pattern) ? pattern : {}
  if (typeof text === 'string' && regex === undefined) return text.length
  if (typeof regex !== 'string' || text !== undefined)
    throw bad(`${where} has neither a String nor a Regex for a pattern`)
  const why = whyNotLinear(regex)
  if (why !== undefined)
    throw unsupported(
      `the pattern of its ${where}, ${show(regex)}, is not known to take linear time: ${why.slice(0, 200)}`,
    )
  return shortestMatch(regex)
}
