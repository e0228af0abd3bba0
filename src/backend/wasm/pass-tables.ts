/**
 * Uploads the small tables that describe a pass to the kernels: slots, segments, page lists, RoPE
 * angles, id lists.
 */
import { defined } from '../../base/at.ts'
import { ForetokenError } from '../../base/errors.ts'
import { pageTokens } from '../../base/kv.ts'
import type { RopeSpec } from '../../base/model.ts'
import type { Segment } from '../../base/pass.ts'
import { anglesOf, type Frequencies, frequenciesOf, writeAngles } from '../frequencies.ts'
import type { Arena } from './arena.ts'

interface Table {
  at: number
  words: number
}

export class PassTables {
  readonly #arena: Arena
  readonly #slots: Table = { at: 0, words: 0 }
  readonly #segments: Table = { at: 0, words: 0 }
  readonly #pages: Table = { at: 0, words: 0 }
  readonly #angles: Table = { at: 0, words: 0 }
  readonly #list: Table = { at: 0, words: 0 }
  /** Those of each rotation planned so far. */
  readonly #frequencies = new WeakMap<RopeSpec, Frequencies>()
  #ropes: readonly RopeSpec[] = []
  #plan: readonly Segment[] = []
  #all: readonly { readonly segment: Segment; readonly page: number }[] = []
  /** First row of the window on the flat token axis. */
  #row = 0
  /** Numbers of tokens and segments in the window. */
  tokens = 0
  segmentCount = 0
  /** Number of tokens in the plan. */
  #planned = 0

  constructor(arena: Arena) {
    this.#arena = arena
  }

  get slots(): number {
    return this.#slots.at + this.#row * 4
  }

  get segments(): number {
    return this.#segments.at
  }

  get pages(): number {
    return this.#pages.at
  }

  /**
   * Returns the kernel arguments of rotation `index`: the address of the cosines and sines of the
   * window's rows, and `pairs` (0 for half, 1 for adjacent).
   */
  rope(index: number): Readonly<Record<'headDim' | 'turned' | 'pairs' | 'angles', number>> {
    const rope = this.#ropes[index]
    if (!rope) throw new ForetokenError('internal', `rotation ${index} of a plan with ${this.#ropes.length}`)
    const { headDim, turned = headDim, pairs } = rope
    const before = anglesOf(this.#ropes.slice(0, index))
    const angles = this.#angles.at + (before * this.#planned + this.#row * turned) * 4
    return { headDim, turned, pairs: pairs === 'half' ? 0 : 1, angles }
  }

  /**
   * Makes room for passes of `tokens` with `pageEntries` entries of page lists in all and `angles`
   * numbers per token, so that passes of that size allocate nothing.
   */
  reserve(tokens: number, angles: number, pageEntries: number): void {
    this.#room(this.#slots, tokens)
    this.#room(this.#segments, tokens * 4)
    this.#room(this.#pages, pageEntries)
    this.#room(this.#angles, tokens * angles)
    this.#room(this.#list, tokens)
  }

  /** Returns the segments of the last fill. */
  get plan(): readonly Segment[] {
    return this.#plan
  }

  fill(segments: readonly Segment[], ropes: readonly RopeSpec[]): void {
    const last = segments.at(-1)
    const tokens = last ? last.start + last.length : 0
    this.#room(this.#slots, tokens)
    this.#room(this.#segments, segments.length * 4)
    this.#room(
      this.#pages,
      segments.reduce((sum, segment) => sum + segment.pages.length, 0),
    )
    this.#room(this.#angles, tokens * anglesOf(ropes))
    const words = this.#arena.words
    let page = 0
    let row = 0
    this.#plan = segments
    this.#all = segments.map((segment, index) => {
      const { start, length, past, pages } = segment
      if (start !== row || pages.length * pageTokens < past + length)
        throw new ForetokenError('internal', `segment ${index} begins at ${start}, not ${row}, or lacks pages`)
      const first = page
      words.set(pages, this.#pages.at / 4 + page)
      page += pages.length
      for (let i = 0; i < length; i++, row++) {
        const slot = past + i
        words[this.#slots.at / 4 + row] =
          defined(pages[Math.floor(slot / pageTokens)]) * pageTokens + (slot % pageTokens)
      }
      return { segment, page: first }
    })
    this.#planned = tokens
    this.#ropes = ropes
    let angles = this.#angles.at / 4
    for (const rope of ropes) angles = this.#turn(rope, angles)
    this.window(0, segments.length)
  }

  /**
   * Writes the cosines and sines of all rows of the plan from word `at` on; returns the index of
   * the word after them.
   */
  #turn(rope: RopeSpec, at: number): number {
    const end = at + this.#planned * anglesOf([rope])
    writeAngles(this.#arena.floats.subarray(at, end), this.#plan, this.#frequenciesOf(rope), rope)
    return end
  }

  /** Narrows the tables to segments `from`..`to` - 1 of those filled in last. */
  window(from: number, to: number): void {
    const inWindow = this.#all.slice(from, to)
    const last = inWindow.at(-1)?.segment
    this.#row = inWindow[0]?.segment.start ?? 0
    this.tokens = last ? last.start + last.length - this.#row : 0
    this.segmentCount = inWindow.length
    const words = this.#arena.words
    inWindow.forEach(({ segment: { start, length, past }, page }, index) => {
      words.set([start - this.#row, length, past, page], this.#segments.at / 4 + index * 4)
    })
  }

  /**
   * Uploads a list of row indices or token ids, which is valid until the next upload. Values out of
   * range become 2^32 - 1.
   */
  list(values: readonly number[]): number {
    this.#room(this.#list, values.length)
    const words = this.#arena.words
    const at = this.#list.at / 4
    for (let i = 0; i < values.length; i++) {
      const value = defined(values[i])
      words[at + i] = Number.isInteger(value) && value >= 0 && value < 0xffffffff ? value : 0xffffffff
    }
    return this.#list.at
  }

  #frequenciesOf(rope: RopeSpec): Frequencies {
    const known = this.#frequencies.get(rope)
    if (known) return known
    const values = frequenciesOf(rope)
    this.#frequencies.set(rope, values)
    return values
  }

  /** Grows a table by at least half, in a new region. The caller must write its contents again. */
  #room(table: Table, words: number): void {
    if (table.words >= words) return
    const room = Math.max(words, Math.ceil(table.words * 1.5))
    const at = this.#arena.alloc(room * 4, 'tables')
    if (table.words > 0) this.#arena.free(table.at)
    table.at = at
    table.words = room
  }
}
