/**
 * From a text to token ids, in steps: added tokens are cut out, the rest is normalized, cut into words as they are asked for, and each word
 * encoded. It ends with the text, or as soon as more ids are there than anybody can use.
 */
import type { AddedToken, AddedTokens, Piece } from './added-tokens.ts'
import type { Origin } from './origin.ts'
import type { PreTokenizer } from './pre-tokenizer.ts'

export interface Stages {
  readonly origin: Origin
  /** Tokens that are found before the text is normalized. */
  readonly before: AddedTokens
  /** Tokens that are found in normalized text; undefined where there are none. */
  readonly after: AddedTokens | undefined
  /** Special ones of these by their own text, for texts that a person and a template wrote together. */
  readonly apart: AddedTokens | undefined
  readonly normalize: ((text: string) => string) | undefined
  readonly words: PreTokenizer
  /** Appends a word's ids. */
  readonly encodeWord: (word: string, into: number[]) => void
}

/** Work between two steps: units of text, and as much again for each word as some letters take. */
const stepWork = 1 << 14
const wordWork = 4

/**
 * Ids of a marked text (see origin.ts). Ends when more than `most` are there: then what it returns has more than `most` ids, and is not
 * whole. Yields between steps of about a millisecond.
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
  for (const piece of stages.before.split(marked)) {
    if (piece.token) yield piece.token
    else yield* wordsOfRun(stages, piece.text, start)
    start = false
  }
}

function* wordsOfRun(stages: Stages, marked: string, start: boolean): Generator<string | AddedToken> {
  const { origin, apart } = stages
  if (!apart || !origin.isMarked(marked)) yield* normalized(stages, marked, start)
  else
    for (const piece of apart.split(marked)) {
      if (piece.token) yield piece.token
      else yield* normalized(stages, piece.text, start)
      start = false
    }
}

function* normalized(stages: Stages, marked: string, start: boolean): Generator<string | AddedToken> {
  const { origin, normalize, after, words } = stages
  const plain = origin.plain(marked)
  const normal = normalize ? normalize(plain) : plain
  if (normal === '') return
  // What a person wrote stays theirs: nothing special is found in it any more.
  const pieces: Iterable<Piece> = after
    ? after.split(origin.isMarked(marked) ? origin.mark(normal) : normal)
    : [{ text: normal }]
  for (const piece of pieces) {
    if (piece.token) yield piece.token
    else yield* words(origin.plain(piece.text), start)
    start = false
  }
}
