// biome-ignore-all lint/style/noNonNullAssertion: loops over typed arrays, whose indices are in bounds by construction
/**
 * Holds a vocabulary without an object for each token: all texts in one string, and a hash table in
 * a typed array. Objects for 49,000 texts took half of the time of opening a model; this form can
 * be sent to a worker for the price of a copy.
 */

import { ForetokenError } from '../base/errors.ts'
import type { PackedTexts, PackedVocabulary } from '../base/model.ts'
import { begin, textAt } from './packed-texts.ts'

/**
 * Maximum places that a look-up tries. With at most half of them taken, a million random texts have
 * runs of about 70; longer runs mean that texts were chosen to collide, which would make every
 * look-up slow.
 */
const longestRun = 1024

/** Reads a packed vocabulary. */
export class Vocabulary {
  readonly #packed: PackedVocabulary

  constructor(packed: PackedVocabulary) {
    this.#packed = packed
  }

  /** Returns the number that all ids are below. */
  get size(): number {
    return this.#packed.ends.length
  }

  /**
   * Returns the id of the token that reads as `text` from `from` to `to`; undefined if there is
   * none.
   */
  find(text: string, from: number, to: number): number | undefined {
    const { slots, twins } = this.#packed
    const mask = slots.length - 1
    for (let at = place(hash(start, text, from, to), mask); slots[at] !== 0; at = (at + 1) & mask)
      if (this.#reads(slots[at]! - 1, text, from, to)) return slots[at]! - 1
    return twins?.get(text.slice(from, to))
  }

  idOf(text: string): number | undefined {
    return this.find(text, 0, text.length)
  }

  /**
   * Returns the id of the token that reads as one token followed by another, without making a text.
   */
  findJoined(left: number, right: number): number | undefined {
    const { text, ends, slots, twins } = this.#packed
    const [leftFrom, leftTo] = [begin(ends, left), ends[left]!]
    const [rightFrom, rightTo] = [begin(ends, right), ends[right]!]
    const leftLength = leftTo - leftFrom
    const length = leftLength + rightTo - rightFrom
    const mask = slots.length - 1
    const hashed = hash(hash(start, text, leftFrom, leftTo), text, rightFrom, rightTo)
    for (let at = place(hashed, mask); slots[at] !== 0; at = (at + 1) & mask) {
      const id = slots[at]! - 1
      const from = begin(ends, id)
      if (
        ends[id]! - from === length &&
        same(text, from, text, leftFrom, leftLength) &&
        same(text, from + leftLength, text, rightFrom, rightTo - rightFrom)
      )
        return id
    }
    return twins?.get(text.slice(leftFrom, leftTo) + text.slice(rightFrom, rightTo))
  }

  /** Returns the text of an id; undefined if it has no token. */
  textOf(id: number): string | undefined {
    const text = textAt(this.#packed, id)
    return text === undefined || text === '' ? undefined : text
  }

  #reads(id: number, text: string, from: number, to: number): boolean {
    const { text: all, ends } = this.#packed
    const at = begin(ends, id)
    return ends[id]! - at === to - from && same(all, at, text, from, to - from)
  }
}

/**
 * Packs a vocabulary. Equal texts get the id of the first. Throws `bad_model` for texts that were
 * chosen to make look-ups slow.
 */
export function packVocabulary({ text, ends }: PackedTexts, twins?: ReadonlyMap<string, number>): PackedVocabulary {
  const slots = new Uint32Array(2 ** Math.ceil(Math.log2(Math.max(2, 2 * ends.length))))
  const mask = slots.length - 1
  for (let id = 0, from = 0; id < ends.length; id++) {
    const to = ends[id]!
    if (to > from) {
      let at = place(hash(start, text, from, to), mask)
      let run = 0
      for (; slots[at] !== 0; at = (at + 1) & mask) {
        const other = slots[at]! - 1
        const otherFrom = begin(ends, other)
        if (ends[other]! - otherFrom === to - from && same(text, otherFrom, text, from, to - from)) break
        if (++run > longestRun)
          throw new ForetokenError(
            'bad_model',
            'the texts of the vocabulary were chosen so that finding one takes long',
          )
      }
      if (slots[at] === 0) slots[at] = id + 1
    }
    from = to
  }
  return { text, ends, slots, ...(twins && { twins }) }
}

function same(a: string, aFrom: number, b: string, bFrom: number, length: number): boolean {
  for (let at = 0; at < length; at++) if (a.charCodeAt(aFrom + at) !== b.charCodeAt(bFrom + at)) return false
  return true
}

/** FNV-1a over UTF-16 units: the hash of a text in two parts equals that of the whole. */
const start = 0x811c9dc5

function hash(from: number, text: string, at: number, to: number): number {
  let hashed = from
  for (let unit = at; unit < to; unit++) hashed = Math.imul(hashed ^ text.charCodeAt(unit), 0x01000193)
  return hashed
}

function place(hashed: number, mask: number): number {
  return (hashed ^ (hashed >>> 15)) & mask
}
