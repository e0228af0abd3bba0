/**
 * Finds added tokens in a text: those whose text is read as one token wherever it occurs. Of
 * several that begin at one place the longest is taken, as in Hugging Face's `tokenizers`. A
 * special token counts only if a template, or the author of a raw prompt, wrote all of it.
 */
import type { Origin } from './origin.ts'

/** A token that is recognized by its text. */
export interface AddedToken {
  readonly id: number
  readonly content: string
  readonly special: boolean
  /** Also matches the white space before it (lstrip) or after it (rstrip). */
  readonly lstrip: boolean
  readonly rstrip: boolean
  /** Matches only if no letter or digit is adjacent. */
  readonly singleWord: boolean
}

/** A section of a marked text, or a token found in it. */
export type TextOrToken = { readonly text: string; readonly token?: undefined } | { readonly token: AddedToken }

interface Node {
  readonly next: Map<number, Node>
  token: AddedToken | undefined
}

const isSpace = (character: string | undefined) => character !== undefined && /^\p{White_Space}$/u.test(character)
const isWord = (character: string | undefined) =>
  character !== undefined && /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]$/u.test(character)

/** A trie of added tokens. */
export class AddedTokens {
  readonly #root: Node = { next: new Map(), token: undefined }
  readonly #origin: Origin

  /** `tokens` are pairs of a token and the text that it is found by. */
  constructor(tokens: Iterable<readonly [text: string, token: AddedToken]>, origin: Origin) {
    this.#origin = origin
    for (const [text, token] of tokens) {
      if (text === '') continue
      let node = this.#root
      for (let at = 0; at < text.length; at++) {
        const unit = text.charCodeAt(at)
        let next = node.next.get(unit)
        if (!next) {
          next = { next: new Map(), token: undefined }
          node.next.set(unit, next)
        }
        node = next
      }
      node.token = token
    }
  }

  /** Yields the sections and tokens of a marked text in order. Empty sections are left out. */
  *split(marked: string): Generator<TextOrToken> {
    const plain = this.#origin.plain(marked)
    let done = 0
    for (let at = 0; at < plain.length; at++) {
      if (!this.#root.next.has(plain.charCodeAt(at))) continue
      const found = this.#longest(marked, plain, at)
      if (!found) continue
      let [from, to] = [at, found.end]
      if (found.token.lstrip) while (from > done && isSpace(plain[from - 1])) from--
      if (found.token.rstrip) while (isSpace(plain[to])) to++
      if (from > done) yield { text: marked.slice(done, from) }
      yield { token: found.token }
      done = to
      at = to - 1
    }
    if (done < plain.length) yield { text: done === 0 ? marked : marked.slice(done) }
  }

  #longest(marked: string, plain: string, from: number): { token: AddedToken; end: number } | undefined {
    let best: { token: AddedToken; end: number } | undefined
    let node: Node | undefined = this.#root
    for (let end = from; end < plain.length; ) {
      node = node.next.get(plain.charCodeAt(end++))
      if (!node) break
      if (node.token && this.#matches(node.token, marked, plain, from, end)) best = { token: node.token, end }
    }
    return best
  }

  #matches(token: AddedToken, marked: string, plain: string, from: number, end: number): boolean {
    if (token.singleWord && (isWord(characterBefore(plain, from)) || isWord(characterAt(plain, end)))) return false
    const unmarked = marked.slice(from, end) === plain.slice(from, end)
    return unmarked || !(token.special || this.#swallows(marked, plain, from, end))
  }

  /**
   * Returns whether a match in user text would swallow the beginning of a special token that the
   * template wrote.
   */
  #swallows(marked: string, plain: string, from: number, end: number): boolean {
    for (let at = from + 1; at < end; at++) {
      if (marked.charCodeAt(at) !== plain.charCodeAt(at)) continue
      let node: Node | undefined = this.#root
      for (let to = at; to < plain.length && marked.charCodeAt(to) === plain.charCodeAt(to); ) {
        node = node.next.get(plain.charCodeAt(to++))
        if (!node) break
        if (node.token?.special) return true
      }
    }
    return false
  }
}

function characterBefore(text: string, at: number): string | undefined {
  const low = at > 0 ? text.charCodeAt(at - 1) : 0
  const from = low >= 0xdc00 && low < 0xe000 && at > 1 ? at - 2 : at - 1
  return at > 0 ? text.slice(from, at) : undefined
}

function characterAt(text: string, at: number): string | undefined {
  const point = text.codePointAt(at)
  return point === undefined ? undefined : String.fromCodePoint(point)
}
