/**
 * Finds the tokens of a prompt's marked parts. The prompt is tokenized as if nothing were marked, and
 * the parts are looked for in its ids. So marks never change what the model reads, whatever the
 * template and the normalizer do with a text.
 */
import { wrong } from '../base/checks.ts'
import { isWhole } from '../base/numbers.ts'
import type { PromptChunk, PromptInput, TokenRange } from '../base/prompt.ts'
import type { Tokenizer } from './tokenizer.ts'

/** Tokens at each edge of a chunk that may differ in a prompt, where they join what is around it. */
const edge = 4

/** Tokens that must be equal at a place before it is looked at closely. */
const anchor = 8

/** A shorter chunk is not looked for. */
const least = 2 * edge + anchor

/**
 * Returns the chunks of a prompt that reads as `ids`, in order, in steps as the tokenizer's. A marked
 * part that the template cut or rewrote is not among them.
 */
export function* chunkSteps(
  tokenizer: Tokenizer,
  prompt: PromptInput,
  ids: readonly number[],
): Generator<void, PromptChunk[], void> {
  const chunks: PromptChunk[] = []
  let after = 0
  for (const text of markedTexts(prompt)) {
    const own = yield* tokenizer.encodeSteps(text, { special: false, bos: false, most: ids.length })
    const found = placeOf(own, ids, after)
    if (!found) continue
    chunks.push(found)
    after = found.to
  }
  return chunks
}

/** Returns whether a prompt has marked parts. */
export function hasMarks(prompt: PromptInput): boolean {
  return !markedTexts(prompt).next().done
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

function* markedTexts(prompt: PromptInput): Generator<string, void, void> {
  if (typeof prompt === 'string') return
  for (const message of prompt) {
    if (typeof message === 'number') return
    if (!Array.isArray(message.content)) continue
    for (const { text, chunk } of message.content) if (chunk) yield text
  }
}

/** Returns where the tokens of a chunk stand in `ids`, from position `after` on, edges aside. */
function placeOf(own: readonly number[], ids: readonly number[], after: number): PromptChunk | undefined {
  if (own.length < least) return undefined
  for (let at = after; at + anchor <= ids.length; at++) {
    if (!equalFrom(own, edge, ids, at, anchor)) continue
    let skip = edge
    let from = at
    while (skip > 0 && from > after && own[skip - 1] === ids[from - 1]) {
      skip--
      from--
    }
    let to = at + anchor
    while (to < ids.length && skip + to - from < own.length && own[skip + to - from] === ids[to]) to++
    if (skip + to - from >= own.length - edge) return { ids: own, skip, from, to }
  }
  return undefined
}

function equalFrom(a: readonly number[], i: number, b: readonly number[], j: number, count: number): boolean {
  for (let k = 0; k < count; k++) if (a[i + k] !== b[j + k]) return false
  return true
}
