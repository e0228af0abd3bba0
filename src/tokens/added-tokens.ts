/**
 * Finds added tokens in a text: those whose text is read as one token wherever it stands. Of several that begin at one place the longest
 * is taken, as by Hugging Face's `tokenizers`. A special token is found only where a template, or who gave a raw text, wrote all of it.
 */
import type { Origin } from './origin.ts'

export interface AddedToken {
  readonly id: number
  readonly content: string
  readonly special: boolean
  /** Takes the white space before it, or behind it. */
  readonly lstrip: boolean
  readonly rstrip: boolean
  /** Counts only where no letter or digit stands beside it. */
  readonly singleWord: boolean
}

/** A run of a marked text, or a token in it. */
export type Piece = { readonly text: string; readonly token?: undefined } | { readonly token: AddedToken }

interface Node {
  readonly next: Map<number, Node>
  token: AddedToken | undefined
}

const isSpace = (character: string | undefined) => character !== undefined && /^\p{White_Space}$/u.test(character)
const isWord = (character: string | undefined) =>
  character !== undefined && /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]$/u.test(character)

export class AddedTokens {
  readonly #root: Node = { next: new Map(), token: undefined }
  readonly #origin: Origin

  /** Each with the text that it is found by. */
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

  /** The text's runs and tokens in order; runs that are empty are left out. */
  *split(marked: string): Generator<Piece> {
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
      if (node.token && this.#counts(node.token, marked, plain, from, end)) best = { token: node.token, end }
    }
    return best
  }

  #counts(token: AddedToken, marked: string, plain: string, from: number, end: number): boolean {
    if (token.singleWord && (isWord(characterBefore(plain, from)) || isWord(characterAt(plain, end)))) return false
    const own = marked.slice(from, end) === plain.slice(from, end)
    return own || !(token.special || this.#swallows(marked, plain, from, end))
  }

  /** Whether a person's text would swallow the beginning of a special token that the template wrote. */
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
