/**
 * Records who wrote each character. A chat template mixes its own text with text from users, and
 * may cut, trim, reverse, join and repeat it; only what the template wrote may become a special
 * token. So user text is *marked* before the template sees it: every UTF-16 unit that occurs in a
 * special token's text, and every ASCII letter, digit and sign, is replaced by a stand-in, a low
 * surrogate without a high one before it. Well-formed text holds no such unit, so a stand-in can't
 * be forged, and it stays with its character wherever the template moves it. A marked text has the
 * length of the plain one, and each unit keeps its place.
 */
import { ForetokenError } from '../base/errors.ts'

const firstStandIn = 0xdc00
const standIns = 0x400
const highSurrogate = (unit: number) => unit >= 0xd800 && unit < 0xdc00
const lowSurrogate = (unit: number) => unit >= 0xdc00 && unit < 0xe000

/** Marks and unmarks the text of users, for one tokenizer. */
export class Origin {
  /** Stand-in of each unit that has one. */
  readonly #standIns = new Map<number, number>()
  /** Unit that each stand-in represents. */
  readonly #units: number[] = []

  /**
   * `specials` are the texts that must not be forged. Throws `unsupported` if they have too many
   * different characters.
   */
  constructor(specials: Iterable<string>) {
    for (let unit = 0x21; unit < 0x7f; unit++) this.#add(unit)
    for (const text of specials) for (let at = 0; at < text.length; at++) this.#add(text.charCodeAt(at))
  }

  #add(unit: number): void {
    if (this.#standIns.has(unit)) return
    if (this.#units.length === standIns)
      throw new ForetokenError(
        'unsupported',
        `the special tokens are written with more than ${standIns} different characters, so that messages can't be told apart from them`,
      )
    this.#standIns.set(unit, firstStandIn + this.#units.length)
    this.#units.push(unit)
  }

  /** Marks user text. Unpaired surrogates become U+FFFD. */
  mark(text: string): string {
    const plain = text.toWellFormed()
    return mapUnits(plain, (unit) => this.#standIns.get(unit) ?? unit)
  }

  /** Returns a marked text without its marks. */
  plain(marked: string): string {
    if (marked.isWellFormed()) return marked
    let before = 0
    return mapUnits(marked, (unit) => {
      const stands = lowSurrogate(unit) && !highSurrogate(before)
      before = unit
      return stands ? (this.#units[unit - firstStandIn] ?? 0xfffd) : unit
    })
  }

  /** Returns whether the text contains marked units. */
  isMarked(marked: string): boolean {
    return !marked.isWellFormed()
  }

  /**
   * Returns whether a character is always marked in user text: without a mark it is the template's.
   */
  covers(character: string): boolean {
    return this.#standIns.has(character.charCodeAt(0))
  }

  /**
   * Marks `changed`, which was made from `marked` letter by letter, as its letters were. If it is
   * unclear which letter became which, all of it counts as user text.
   */
  remark(marked: string, changed: string): string {
    if (marked.isWellFormed() && isAscii(marked)) return changed
    const aligned = changed.length === marked.length
    const plain = this.plain(marked)
    let at = 0
    return mapUnits(changed, (unit) => {
      const from = at++
      const standIn = this.#standIns.get(unit)
      if (standIn === undefined) return unit
      const unmarked = aligned && marked.charCodeAt(from) === plain.charCodeAt(from)
      // A letter without a stand-in, such as the Kelvin sign, may have become one that has.
      return unmarked && this.#standIns.has(marked.charCodeAt(from)) ? unit : standIn
    })
  }
}

function isAscii(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: this is what ASCII is.
  return /^[\x00-\x7f]*$/.test(text)
}

/** Number of units that `String.fromCharCode` accepts at once on any engine. */
const atOnce = 4096

/** Up to this length a text is mapped without an array, which would take longer to allocate. */
const short = 32

function mapUnits(text: string, map: (unit: number) => number): string {
  if (text.length <= short) {
    let mapped = ''
    for (let at = 0; at < text.length; at++) mapped += String.fromCharCode(map(text.charCodeAt(at)))
    return mapped
  }
  const parts: string[] = []
  for (let from = 0; from < text.length; from += atOnce) {
    const units = new Array<number>(Math.min(atOnce, text.length - from))
    for (let at = 0; at < units.length; at++) units[at] = map(text.charCodeAt(from + at))
    parts.push(String.fromCharCode.apply(undefined, units))
  }
  return parts.join('')
}
