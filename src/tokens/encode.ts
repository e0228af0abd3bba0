/**
 * Turns a text into token ids step by step: added tokens are cut out, the rest is normalized, split
 * lazily into words, and each word is encoded. It stops at the end of the text, or as soon as there
 * are more ids than the caller can use.
 */
import type { AddedToken, AddedTokens, TextOrToken } from './added-tokens.ts'
import type { Origin } from './origin.ts'
import type { PreTokenizer } from './splitting.ts'

/** The stages of a tokenizer, in order. */
export interface Stages {
  readonly origin: Origin
  /** Tokens that are found before the text is normalized. */
  readonly before: AddedTokens
  /** Tokens that are found in normalized text; undefined if there are none. */
  readonly after: AddedTokens | undefined
  /**
   * The special ones among `after`, by their text before normalization, for sections that user and
   * template wrote together.
   */
  readonly apart: AddedTokens | undefined
  readonly normalize: ((text: string) => string) | undefined
  readonly words: PreTokenizer
  /** Appends the ids of a word to `into`. */
  readonly encodeWord: (word: string, into: number[]) => void
}

/** Work between two yields, in UTF-16 units; each word counts as a few more. */
const stepWork = 1 << 14
const wordWork = 4

/**
 * Encodes a marked text (see origin.ts). Stops once there are more than `most` ids, so that a
 * longer result is incomplete. Yields about once a millisecond.
 */
export function* encodeSteps(
  stages: Stages,
  marked: string,
  most = Number.POSITIVE_INFINITY,
): Generator<void, number[], void> {
  const ids: number[] = []
  let work = 0
  for (const word of wordsOf(stages, marked)) {
    if (typeof word === 'string') stages.encodeWord(word, ids)
    else ids.push(word.id)
    if (ids.length > most) break
    work += wordWork + (typeof word === 'string' ? word.length : 0)
    if (work < stepWork) continue
    work = 0
    yield
  }
  return ids
}

function* wordsOf(stages: Stages, marked: string): Generator<string | AddedToken> {
  let start = true
  for (const part of stages.before.split(marked)) {
    if (part.token) yield part.token
    else yield* wordsOfText(stages, part.text, start)
    start = false
  }
}

function* wordsOfText(stages: Stages, marked: string, start: boolean): Generator<string | AddedToken> {
  const { origin, apart } = stages
  if (!apart || !origin.isMarked(marked)) yield* normalized(stages, marked, start)
  else
    for (const part of apart.split(marked)) {
      if (part.token) yield part.token
      else yield* normalized(stages, part.text, start)
      start = false
    }
}

function* normalized(stages: Stages, marked: string, start: boolean): Generator<string | AddedToken> {
  const { origin, normalize, after, words } = stages
  const plain = origin.plain(marked)
  const normal = normalize ? normalize(plain) : plain
  if (normal === '') return
  // User text stays marked, so that no special token is found in it after normalizing.
  const parts: Iterable<TextOrToken> = after
    ? after.split(origin.isMarked(marked) ? origin.mark(normal) : normal)
    : [{ text: normal }]
  for (const part of parts) {
    if (part.token) yield part.token
    else yield* words(origin.plain(part.text), start)
    start = false
  }
}
