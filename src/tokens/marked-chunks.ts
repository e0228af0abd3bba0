/**
 * Finds the tokens of a prompt's marked parts, and of its paragraphs if they are asked for. The
 * prompt is tokenized as if nothing were marked, and the parts are looked for in its ids. So marks
 * never change what the model reads, whatever the template and the normalizer do with a text.
 */
import { wrong } from '../base/checks.ts'
import { isWhole } from '../base/numbers.ts'
import type { PromptChunk, PromptInput, TokenRange } from '../base/prompt.ts'
import { paragraphsOf } from './paragraphs.ts'
import type { Tokenizer } from './tokenizer.ts'

/** Tokens at each edge of a chunk that may differ in a prompt, where they join what is around it. */
const edge = 4

/** Tokens that must be equal at a place before it is looked at closely. */
const anchor = 8

/** A shorter chunk is not looked for. */
const least = 2 * edge + anchor

/** Tokens that are compared for each token of a prompt. Chunks that stand where they should take two. */
const mostLooks = 16

/** Which chunks of a prompt are looked for: its marked parts, or with `auto` its paragraphs, too. */
export type ChunkWish = 'auto' | undefined

/**
 * Returns the chunks of a prompt that reads as `ids`, in order, in steps as the tokenizer's. A part
 * that the template cut or rewrote is not among them. The work grows with the length of the prompt.
 */
export function* chunkSteps(
  tokenizer: Tokenizer,
  prompt: PromptInput,
  ids: readonly number[],
  wish?: ChunkWish,
): Generator<void, PromptChunk[], void> {
  const chunks: PromptChunk[] = []
  let after = 0
  const looks: Looks = { left: mostLooks * ids.length }
  for (const { text, found } of chunkTexts(prompt, wish)) {
    const own = yield* tokenizer.encodeSteps(text, { special: false, bos: false, most: ids.length })
    if (own.length < least) continue
    const place = placeOf(own, ids, after, looks)
    if (looks.left <= 0) break
    if (!place) continue
    chunks.push(found ? { ...place, found } : place)
    after = place.to
  }
  return chunks
}

/** Returns whether a prompt may have chunks. */
export function mayHaveChunks(prompt: PromptInput, wish?: ChunkWish): boolean {
  return !chunkTexts(prompt, wish).next().done
}

/** Returns the chunks that ranges of a prompt's ids name. Throws `bad_argument` for others. */
export function chunksAt(ids: readonly number[], ranges: readonly TokenRange[]): PromptChunk[] {
  let after = 0
  return ranges.map(({ from, to }, index) => {
    if (!isWhole(from, after, ids.length) || !isWhole(to, from + 1, ids.length))
      throw wrong(
        `chunks[${index}]`,
        `a range {from, to} of the prompt's ${ids.length} tokens, behind the one before`,
        { from, to },
      )
    after = to
    return { ids: ids.slice(from, to), skip: 0, from, to }
  })
}

interface ChunkText {
  readonly text: string
  readonly found?: true
}

/**
 * Yields the texts to look for. The last paragraph is not among them: the answer follows it, so it is
 * most likely the question, which has to be read with the others in view.
 */
function* chunkTexts(prompt: PromptInput, wish: ChunkWish): Generator<ChunkText, void, void> {
  let last: ChunkText | undefined
  for (const text of allTexts(prompt, wish)) {
    if (last) yield last
    last = text
  }
  if (last && !last.found) yield last
}

function* allTexts(prompt: PromptInput, wish: ChunkWish): Generator<ChunkText, void, void> {
  const unmarked = function* (text: string): Generator<ChunkText, void, void> {
    if (wish === 'auto') for (const paragraph of paragraphsOf(text)) yield { text: paragraph, found: true }
  }
  if (typeof prompt === 'string') return yield* unmarked(prompt)
  for (const message of prompt) {
    if (typeof message === 'number') return
    const { content } = message
    if (typeof content === 'string') yield* unmarked(content)
    else
      for (const { text, chunk } of content ?? [])
        if (chunk) yield { text }
        else yield* unmarked(text)
  }
}

/** How many tokens may still be compared. */
interface Looks {
  left: number
}

/**
 * Returns where the tokens of a chunk stand in `ids`, from position `after` on, edges aside; undefined
 * if they do not, or if that takes too many looks.
 */
function placeOf(own: readonly number[], ids: readonly number[], after: number, looks: Looks): PromptChunk | undefined {
  for (let at = after; at + anchor <= ids.length && looks.left > 0; at++) {
    looks.left--
    if (!equalFrom(own, edge, ids, at, anchor)) continue
    let skip = edge
    let from = at
    while (skip > 0 && from > after && own[skip - 1] === ids[from - 1]) {
      skip--
      from--
    }
    let to = at + anchor
    while (to < ids.length && skip + to - from < own.length && own[skip + to - from] === ids[to]) to++
    looks.left -= to - from
    if (skip + to - from >= own.length - edge) return { ids: own, skip, from, to }
  }
  return undefined
}

function equalFrom(a: readonly number[], i: number, b: readonly number[], j: number, count: number): boolean {
  for (let k = 0; k < count; k++) if (a[i + k] !== b[j + k]) return false
  return true
}
