/**
 * Cuts a word into the pieces whose scores have the greatest sum, as sentencepiece's unigram model
 * does (Viterbi's algorithm). A character that no piece is made of has the least score minus 10, and
 * adjacent ones become one unknown token, or the tokens of their bytes.
 *
 * A word of n units takes n times the longest piece at most, and 16 bytes for a unit. Of equal sums the
 * one whose last piece is longer wins, at each place, since the reference keeps the first that it finds.
 */
import { defined } from '../base/at.ts'

export interface UnigramOptions {
  /** Texts by id, with their scores. Of equal texts the last counts. */
  readonly pieces: readonly (readonly [text: string, score: number])[]
  readonly unknown: number
  /** Whether unknown characters become the tokens of their bytes, `<0x00>` to `<0xFF>`. */
  readonly byteFallback: boolean
  /** Ids that no text becomes: special tokens. */
  readonly special: ReadonlySet<number>
}

const unknownPenalty = 10
/** Up to this many units of a word the tables are kept for the next one. */
const keptLength = 4096

/** The best way to each place of a word. */
interface Paths {
  readonly sums: Float64Array
  /** Where the last piece of the way begins. */
  readonly starts: Int32Array
  readonly ids: Int32Array
}

/** Not reentrant: it reuses its tables. */
export class Unigram {
  readonly #unknown: number
  readonly #unknownScore: number
  readonly #scores: Float64Array
  /** The texts of all pieces in order of their units, where they begin, and their ids. */
  readonly #texts: string
  readonly #begins: Uint32Array
  readonly #ids: Uint32Array
  /** The first piece that begins with a unit, and the first behind these. */
  readonly #firsts = new Map<number, { readonly low: number; readonly high: number }>()
  readonly #bytes: readonly (number | undefined)[]
  readonly #kept = pathsOf(keptLength)

  constructor({ pieces, unknown, byteFallback, special }: UnigramOptions) {
    this.#unknown = unknown
    this.#scores = Float64Array.from(pieces, ([, score]) => score)
    this.#unknownScore = this.#scores.reduce((least, score) => Math.min(least, score), Infinity) - unknownPenalty
    const ids = new Map<string, number>()
    for (const [id, [text]] of pieces.entries()) if (text !== '') ids.set(text, id)
    const sorted = [...ids.keys()].filter((text) => !special.has(ids.get(text) ?? -1)).sort()
    this.#texts = sorted.join('')
    this.#ids = Uint32Array.from(sorted, (text) => ids.get(text) ?? 0)
    this.#begins = new Uint32Array(sorted.length + 1)
    for (let index = 0; index < sorted.length; index++)
      this.#begins[index + 1] = defined(this.#begins[index]) + defined(sorted[index]).length
    for (let low = 0; low < sorted.length; ) {
      const unit = this.#unitOf(low, 0)
      const high = this.#after(low, sorted.length, 0, unit)
      this.#firsts.set(unit, { low, high })
      low = high
    }
    this.#bytes = byteFallback ? Array.from({ length: 256 }, (_, byte) => this.#idOf(byteName(byte))) : []
  }

  /** Appends the ids of a word to `into`. */
  encode(word: string, into: number[]): void {
    const paths = word.length > keptLength ? pathsOf(word.length) : this.#kept
    this.#search(word, paths)
    const ends: number[] = []
    for (let end = word.length; end > 0; end = defined(paths.starts[end])) ends.push(end)
    let unknownFrom = -1
    for (let index = ends.length - 1; index >= 0; index--) {
      const end = defined(ends[index])
      const id = defined(paths.ids[end])
      if (id === this.#unknown) {
        if (unknownFrom < 0) unknownFrom = defined(paths.starts[end])
        if (index > 0 && defined(paths.ids[defined(ends[index - 1])]) === id) continue
        this.#writeUnknown(word.slice(unknownFrom, end), into)
        unknownFrom = -1
      } else into.push(id)
    }
  }

  /** Fills in the best way to each place. */
  #search(word: string, { sums, starts, ids }: Paths): void {
    starts.fill(-1, 0, word.length + 1)
    sums[0] = 0
    const offer = (start: number, end: number, id: number, score: number) => {
      const sum = score + defined(sums[start])
      if (defined(starts[end]) >= 0 && !(sum > defined(sums[end]))) return
      sums[end] = sum
      starts[end] = start
      ids[end] = id
    }
    for (let start = 0; start < word.length; ) {
      const next = start + ((word.codePointAt(start) ?? 0) > 0xffff ? 2 : 1)
      let single = false
      let { low, high } = this.#firsts.get(word.charCodeAt(start)) ?? none
      for (let end = start + 1; low < high; end++) {
        if (this.#lengthOf(low) === end - start) {
          const id = defined(this.#ids[low])
          offer(start, end, id, defined(this.#scores[id]))
          if (end === next) single = true
          low++
        }
        if (end === word.length) break
        const unit = word.charCodeAt(end)
        low = this.#from(low, high, end - start, unit)
        high = this.#after(low, high, end - start, unit)
      }
      if (!single) offer(start, next, this.#unknown, this.#unknownScore)
      start = next
    }
  }

  #writeUnknown(text: string, into: number[]): void {
    // Characters that are unknown alone may be a piece together.
    const whole = this.#idOf(text)
    const bytes = whole === undefined ? this.#bytesOf(text) : undefined
    if (bytes) for (const id of bytes) into.push(id)
    else into.push(whole ?? this.#unknown)
  }

  #bytesOf(text: string): number[] | undefined {
    if (this.#bytes.length === 0) return undefined
    const ids: number[] = []
    for (const byte of new TextEncoder().encode(text)) {
      const id = this.#bytes[byte]
      if (id === undefined) return undefined
      ids.push(id)
    }
    return ids
  }

  /** Returns the id of a whole text. */
  #idOf(text: string): number | undefined {
    let { low, high } = this.#firsts.get(text.charCodeAt(0)) ?? none
    for (let depth = 1; depth < text.length && low < high; depth++) {
      const unit = text.charCodeAt(depth)
      low = this.#from(low, high, depth, unit)
      high = this.#after(low, high, depth, unit)
    }
    return low < high && this.#lengthOf(low) === text.length ? defined(this.#ids[low]) : undefined
  }

  #lengthOf(index: number): number {
    return defined(this.#begins[index + 1]) - defined(this.#begins[index])
  }

  /** Returns a unit of a piece, or -1 behind its end. */
  #unitOf(index: number, depth: number): number {
    const place = defined(this.#begins[index]) + depth
    return place < defined(this.#begins[index + 1]) ? this.#texts.charCodeAt(place) : -1
  }

  /** Returns the first of the pieces from `low` to `high`, which begin alike, whose unit at a depth is not below `unit`. */
  #from(low: number, high: number, depth: number, unit: number): number {
    let [left, right] = [low, high]
    while (left < right) {
      const middle = (left + right) >>> 1
      if (this.#unitOf(middle, depth) < unit) left = middle + 1
      else right = middle
    }
    return left
  }

  #after(low: number, high: number, depth: number, unit: number): number {
    return this.#from(low, high, depth, unit + 1)
  }
}

const none = { low: 0, high: 0 }

function pathsOf(length: number): Paths {
  return {
    sums: new Float64Array(length + 1),
    starts: new Int32Array(length + 1),
    ids: new Int32Array(length + 1),
  }
}

function byteName(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`
}
