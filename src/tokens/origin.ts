/**
 * Who wrote which character. A chat template mixes its own text with what people wrote, and may cut, trim, reverse, join and repeat it;
 * only what the template wrote may become a special token. So a person's text is *marked* before the template sees it: every UTF-16 unit
 * that occurs in a special token's text, and every ASCII letter, digit and sign, becomes a stand-in, a low surrogate that follows no high
 * one. Text that is well-formed holds no such unit, so a stand-in can't be forged, and it stays with its character wherever the template
 * moves it. A marked text has the length of the plain one, and each unit its place.
 */
import { ForetokenError } from '../base/errors.ts'

const firstStandIn = 0xdc00
const standIns = 0x400
const highSurrogate = (unit: number) => unit >= 0xd800 && unit < 0xdc00
const lowSurrogate = (unit: number) => unit >= 0xdc00 && unit < 0xe000

export class Origin {
  /** The stand-in of each unit that has one. */
  readonly #standIns = new Map<number, number>()
  /** The unit that each stand-in stands for. */
  readonly #units: number[] = []

  /** `specials`: texts that must not be forged. Throws `unsupported` where they have too many different characters. */
  constructor(specials: Iterable<string>) {
    for (let unit = 0x21; unit < 0x7f; unit++) this.#add(unit)
    for (const text of specials) for (let at = 0; at < text.length; at++) this.#add(text.charCodeAt(at))
  }

  #add(unit: number): void {
    if (this.#standIns.has(unit)) return
    if (this.#units.length === standIns)
      throw new ForetokenError(
        'unsupported',
        `the special tokens are written with more than ${standIns} different characters, so that messages can't be kept apart from them`,
      )
    this.#standIns.set(unit, firstStandIn + this.#units.length)
    this.#units.push(unit)
  }

  /** A person's text, marked. Units without a pair become U+FFFD. */
  mark(text: string): string {
    const plain = text.toWellFormed()
    return mapUnits(plain, (unit) => this.#standIns.get(unit) ?? unit)
  }

  /** A marked text as everybody reads it. */
  plain(marked: string): string {
    if (marked.isWellFormed()) return marked
    let before = 0
    return mapUnits(marked, (unit) => {
      const stands = lowSurrogate(unit) && !highSurrogate(before)
      before = unit
      return stands ? (this.#units[unit - firstStandIn] ?? 0xfffd) : unit
    })
  }

  /** Whether units of the marked text are a person's. */
  isMarked(marked: string): boolean {
    return !marked.isWellFormed()
  }

  /** Whether a character is marked where a person wrote it: without a mark it is the template's. */
  covers(character: string): boolean {
    return this.#standIns.has(character.charCodeAt(0))
  }

  /**
   * `changed`, which was made of `marked` letter by letter, with the marks of its letters. Where it can't be told which letter became
   * which, all of it is taken for a person's.
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
      const own = aligned && marked.charCodeAt(from) === plain.charCodeAt(from)
      // A letter that could not be marked, such as the Kelvin sign, may have become one that is.
      return own && this.#standIns.has(marked.charCodeAt(from)) ? unit : standIn
    })
  }
}

function isAscii(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: this is what ASCII is.
  return /^[\x00-\x7f]*$/.test(text)
}

/** As many units as `String.fromCharCode` takes at once on any engine. */
const atOnce = 4096

/** Texts that are mapped without an array, which would take longer to make than they. */
const short = 32

function mapUnits(text: string, map: (unit: number) => number): string {
  if (text.length <= short) {
    let mapped = ''
    for (let at = 0; at < text.length; at++) mapped += String.fromCharCode(map(text.charCodeAt(at)))
    return mapped
  }
  const parts: string[] = []
  for (let from = 0; from < text.length; from += atOnce) {
    const units = new Uint16Array(Math.min(atOnce, text.length - from))
    for (let at = 0; at < units.length; at++) units[at] = map(text.charCodeAt(from + at))
    parts.push(String.fromCharCode.apply(undefined, units as unknown as number[]))
  }
  return parts.join('')
}
