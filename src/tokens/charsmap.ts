/**
 * Replaces characters as a table of sentencepiece says, its `precompiled_charsmap`:
 *
 *     u32      bytes of the trie, little-endian, as all numbers
 *     u32 ...  a double-array trie of darts-clone over bytes of UTF-8; a leaf holds where a text begins
 *     bytes    the texts, in UTF-8, each ending with NUL
 *
 * It is applied as the reference does (the crate `spm_precompiled`): a grapheme cluster of up to five
 * bytes is looked up whole, and otherwise its characters. The shortest key that begins what is looked
 * up replaces all of it.
 */
import { defined } from '../base/at.ts'
import { bad, unsupported } from './checked-steps.ts'
import { clusterEnd, mayJoin } from './graphemes.ts'

const longestCluster = 5

// A unit of the trie has its label in 8 bits, a flag that a leaf is among its children, and the offset
// of these. Leaves have bit 31.
const labelOf = (unit: number) => (unit & 0x800000ff) >>> 0
const offsetOf = (unit: number) => (unit >>> 10) << ((unit & 0x200) >>> 6)
const hasLeaf = (unit: number) => (unit & 0x100) !== 0
const isLeaf = (unit: number) => unit >>> 31 === 1
const textAtOf = (unit: number) => unit & 0x7fffffff

export class Charsmap {
  readonly #units: Uint32Array
  /** The texts by where they begin. */
  readonly #texts: ReadonlyMap<number, string>
  /** UTF-16 units of the longest text. */
  readonly longest: number
  readonly #bytes = new Uint8Array(longestCluster + 4)

  /** `file` holds a table as above. Throws `bad_model` unless no look-up can leave it. */
  constructor(file: Uint8Array) {
    const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
    const size = file.length < 4 ? 0 : view.getUint32(0, true)
    if (size === 0 || size % 4 !== 0 || size > file.length - 4)
      throw bad(`its charsmap of ${file.length} bytes has a trie of ${size}`)
    this.#units = Uint32Array.from({ length: size / 4 }, (_, unit) => view.getUint32(4 + 4 * unit, true))
    this.#texts = textsOf(this.#units, file.subarray(4 + size))
    let longest = 0
    for (const text of this.#texts.values()) longest = Math.max(longest, text.length)
    this.longest = longest
  }

  /**
   * Returns a well-formed text with its characters replaced. Throws `unsupported` for one that would have
   * more than `most` UTF-16 units.
   */
  normalize(text: string, most: number): string {
    const joins = mayJoin(text)
    let normal = ''
    let kept = 0
    for (let from = 0; from < text.length; ) {
      const end = joins ? clusterEnd(text, from) : from + sizeAt(text, from)
      for (let start = from; start < end; ) {
        // The cluster, and then its characters.
        const whole = start === from && end > start + sizeAt(text, start) ? this.#find(text, start, end) : undefined
        const to = whole === undefined ? start + sizeAt(text, start) : end
        const found = whole ?? this.#find(text, start, to)
        if (found !== undefined) {
          normal += text.slice(kept, start) + found
          kept = to
          if (normal.length > most) throw unsupported(`its charsmap makes a text longer than ${most} characters`)
        }
        start = to
      }
      from = end
    }
    return kept === 0 ? text : normal + text.slice(kept)
  }

  /** Returns the text of the shortest key that begins a part of at most five bytes. */
  #find(text: string, from: number, to: number): string | undefined {
    const length = this.#write(text, from, to)
    let node = offsetOf(defined(this.#units[0]))
    for (let index = 0; index < length; index++) {
      const byte = defined(this.#bytes[index])
      if (byte === 0) return undefined
      node ^= byte
      const unit = defined(this.#units[node])
      if (labelOf(unit) !== byte) return undefined
      node ^= offsetOf(unit)
      if (hasLeaf(unit)) return this.#texts.get(textAtOf(defined(this.#units[node])))
    }
    return undefined
  }

  /** Writes a part in UTF-8, and returns its length; 0 if it is longer than a cluster may be. */
  #write(text: string, from: number, to: number): number {
    const bytes = this.#bytes
    let length = 0
    for (let start = from; start < to; ) {
      const point = text.codePointAt(start) ?? 0
      if (point < 0x80) bytes[length++] = point
      else {
        const more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3
        bytes[length++] = defined(leads[more]) | (point >>> (6 * more))
        for (let shift = 6 * (more - 1); shift >= 0; shift -= 6) bytes[length++] = 0x80 | ((point >>> shift) & 0x3f)
      }
      if (length > longestCluster) return 0
      start += point > 0xffff ? 2 : 1
    }
    return length
  }
}

/** First bits of a character of 2, 3 and 4 bytes. */
const leads = [0, 0xc0, 0xe0, 0xf0]

function sizeAt(text: string, from: number): number {
  return (text.codePointAt(from) ?? 0) > 0xffff ? 2 : 1
}

/**
 * Returns the texts that leaves point to. Throws `bad_model` if a unit has children beyond the trie,
 * whatever their label, or a leaf that is none.
 */
function textsOf(units: Uint32Array, blob: Uint8Array): Map<number, string> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  const ends = endsOf(blob)
  const texts = new Map<number, string>()
  let total = 0
  for (let index = 0; index < units.length; index++) {
    const unit = defined(units[index])
    if (isLeaf(unit)) continue
    const children = index ^ offsetOf(unit)
    if ((children | 0xff) >= units.length) throw bad(`unit ${index} of its charsmap has children beyond the trie`)
    if (!hasLeaf(unit)) continue
    const leaf = defined(units[children])
    const from = textAtOf(leaf)
    if (!isLeaf(leaf) || from > blob.length) throw bad(`unit ${index} of its charsmap has a leaf without a text`)
    if (texts.has(from)) continue
    const to = ends[from] ?? from
    total += to - from
    if (total > mostText) throw bad(`the texts of its charsmap have more than ${mostText} bytes`)
    try {
      texts.set(from, decoder.decode(blob.subarray(from, to)))
    } catch {
      throw bad(`text ${from} of its charsmap is not UTF-8`)
    }
  }
  return texts
}

/** Bytes of all texts; those of nmt_nfkc have 30,000. */
const mostText = 1 << 22

/** Returns for each byte where the text that it is in ends. */
function endsOf(blob: Uint8Array): Uint32Array {
  const ends = new Uint32Array(blob.length)
  for (let index = blob.length - 1, end = blob.length; index >= 0; index--) {
    if (blob[index] === 0) end = index
    ends[index] = end
  }
  return ends
}
