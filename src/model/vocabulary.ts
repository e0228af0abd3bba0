/**
 * A vocabulary without an object for each token: all texts in one string, and a hash table in a typed array. To make objects of 49,000
 * texts took half of the time in which a model is opened; and this can be sent to a worker for the price of a copy.
 */

import { ForetokenError } from '../base/errors.ts'
import type { PackedTexts, PackedVocabulary, TokenizerSpec } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import { show } from './json.ts'
import { limits } from './limits.ts'

/**
 * Places that a look-up may go on to. With at most half of them taken, a million texts by chance have runs of about 70; more says that the
 * texts were chosen to meet, which would make every look-up slow.
 */
const longestRun = 1024

/** Reads a packed vocabulary. */
export class Vocabulary {
  readonly #packed: PackedVocabulary

  constructor(packed: PackedVocabulary) {
    this.#packed = packed
  }

  /** Ids are below this. */
  get size(): number {
    return this.#packed.ends.length
  }

  /** The id of the token that reads as `text` from `from` to `to`; undefined where there is none. */
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

  /** The id of the token that reads as one token and then another; no text is made for it. */
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

  /** Undefined for an id without a token. */
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

/** The text at a place of a list; undefined outside of it. */
export function textAt({ text, ends }: PackedTexts, at: number): string | undefined {
  return at in ends ? text.slice(begin(ends, at), ends[at]) : undefined
}

/** Of equal texts the first has the id. Throws `bad_model` for texts that were chosen to make look-ups slow. */
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

/** Of texts by id; undefined and '' are ids without a token. */
export function packTexts(texts: readonly (string | null | undefined)[]): PackedTexts {
  const ends = new Uint32Array(texts.length)
  let end = 0
  for (let id = 0; id < texts.length; id++) {
    end += texts[id]?.length ?? 0
    ends[id] = end
  }
  return { text: texts.join(''), ends }
}

/** The `vocab` of a tokenizer.json, text -> id. Throws `bad_model` for an id that is none. */
export function packedVocabularyOf(vocab: Readonly<Record<string, unknown>>): PackedVocabulary {
  const texts: (string | undefined)[] = []
  let twins: Map<string, number> | undefined
  for (const text of Object.keys(vocab)) {
    const id = vocab[text]
    checkId(id, text)
    while (texts.length <= id) texts.push(undefined)
    if (texts[id] === undefined) texts[id] = text
    else {
      twins ??= new Map()
      twins.set(text, id)
    }
  }
  return packVocabulary(packTexts(texts), twins)
}

/** The same as the `vocab` of a tokenizer.json; it has no prototype, since a token may be called anything. */
export function vocabOf({ ends, twins }: PackedVocabulary, vocabulary: Vocabulary): Record<string, number> {
  const vocab: Record<string, number> = Object.create(null)
  for (let id = 0; id < ends.length; id++) {
    const text = vocabulary.textOf(id)
    if (text !== undefined) vocab[text] ??= id
  }
  for (const [text, id] of twins ?? []) vocab[text] = id
  return vocab
}

/** The `vocab` of a tokenizer.json, whether a spec keeps it packed or not. */
export function vocabularyOf({ json, vocabulary }: TokenizerSpec): unknown {
  if (vocabulary) return vocabOf(vocabulary, new Vocabulary(vocabulary))
  return (json.model as { vocab?: unknown } | undefined)?.vocab
}

/** A tokenizer.json that stands by itself: with the vocabulary and the merges that a spec keeps beside it. */
export function tokenizerJsonOf(spec: TokenizerSpec): Record<string, unknown> {
  const { json, mergeIds } = spec
  const vocab = vocabularyOf(spec)
  const model = { ...(json.model as Record<string, unknown>), vocab }
  if (!mergeIds) return { ...json, model }
  const textOf: string[] = []
  for (const [text, id] of Object.entries(vocab as Record<string, number>)) textOf[id] ??= text
  const merges: [string, string][] = []
  for (let at = 0; at < mergeIds.length; at += 2) merges.push([textOf[mergeIds[at]!]!, textOf[mergeIds[at + 1]!]!])
  return { ...json, model: { ...model, merges } }
}

/** Throws `bad_model` for an id that is none. */
export function checkId(id: unknown, token: string): asserts id is number {
  if (!isWhole(id, 0, limits.tokens - 1))
    throw new ForetokenError(
      'bad_model',
      `the tokenizer can't be read: the token ${show(token)} has the id ${show(id)}; expected a whole number below ${limits.tokens}`,
    )
}

function begin(ends: Uint32Array, id: number): number {
  return id === 0 ? 0 : ends[id - 1]!
}

function same(a: string, aFrom: number, b: string, bFrom: number, length: number): boolean {
  for (let at = 0; at < length; at++) if (a.charCodeAt(aFrom + at) !== b.charCodeAt(bFrom + at)) return false
  return true
}

/** FNV-1a over UTF-16 units: of a text in two parts it is the same as of the whole. */
const start = 0x811c9dc5

function hash(from: number, text: string, at: number, to: number): number {
  let hashed = from
  for (let unit = at; unit < to; unit++) hashed = Math.imul(hashed ^ text.charCodeAt(unit), 0x01000193)
  return hashed
}

function place(hashed: number, mask: number): number {
  return (hashed ^ (hashed >>> 15)) & mask
}
