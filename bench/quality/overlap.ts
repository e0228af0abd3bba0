/**
 * Finds texts to judge on that were trained on: those that share a run of 13 words with a text for
 * training (GPT-3's test, arXiv 2005.14165, appendix C). `train/foretoken_train/overlap.py` is the
 * same test, for leaving rows out of training.
 */

import { linesOf } from '../lines.ts'

/** Number of words of a run. */
export const runWords = 13

/**
 * Returns a function that is true for a text that shares a run of words with a text in the files
 * `training`. `judged` are the files whose texts it will be asked about; it knows no others.
 */
export async function overlapWith(
  training: readonly string[],
  judged: readonly string[],
  onFile: (path: string) => void = () => {},
): Promise<(text: string) => boolean> {
  const known = new Set<number>()
  for (const path of new Set(judged))
    for await (const text of rowsOf(path)) for (const run of runsOf(text)) known.add(run)
  const shared = new Set<number>()
  for (const path of training) {
    onFile(path)
    for await (const text of rowsOf(path)) for (const run of runsOf(text)) if (known.has(run)) shared.add(run)
  }
  return (text) => {
    for (const run of runsOf(text)) if (shared.has(run)) return true
    return false
  }
}

/** Yields a number of 53 bits for each run of words of a text; other runs hardly have the same. */
export function* runsOf(text: string): Generator<number> {
  const words = (text.toLowerCase().match(/[\p{L}\p{N}_]+/gu) ?? []).map(wordHashes)
  let [a, b] = [0, 0]
  for (const [index, [x, y]] of words.entries()) {
    const [left, right] = words[index - runWords] ?? [0, 0]
    a = (Math.imul(a - Math.imul(left, highest[0]), factors[0]) + x) | 0
    b = (Math.imul(b - Math.imul(right, highest[1]), factors[1]) + y) | 0
    if (index >= runWords - 1) yield (a >>> 0) * 2 ** 21 + (b >>> 11)
  }
}

const factors = [0x01000193, 0x85ebca6b] as const
const highest = factors.map((factor) => {
  let power = 1
  for (let i = 1; i < runWords; i++) power = Math.imul(power, factor)
  return power
}) as readonly number[] as readonly [number, number]

/** Returns two independent hashes of a word, 32 bits each (FNV-1a, and MurmurHash3's mixing). */
function wordHashes(word: string): readonly [number, number] {
  let [a, b] = [0x811c9dc5, 0]
  for (let i = 0; i < word.length; i++) {
    const unit = word.charCodeAt(i)
    a = Math.imul(a ^ unit, 0x01000193)
    b = Math.imul(b ^ unit, 0xcc9e2d51)
    b = Math.imul((b << 15) | (b >>> 17), 0x1b873593) + 0xe6546b64
  }
  return [a | 0, b | 0]
}

/** Yields the texts of JSON lines or of a JSON array, or the paragraphs of a plain text. */
async function* rowsOf(path: string): AsyncGenerator<string> {
  if (/\.jsonl(\.gz)?$/.test(path)) {
    for await (const line of linesOf(path)) if (line.trim() !== '') yield jsonText(line)
    return
  }
  const lines: string[] = []
  for await (const line of linesOf(path)) {
    if (line.trim() !== '') lines.push(line)
    else if (lines.length > 0 && !/\.json(\.gz)?$/.test(path)) yield lines.splice(0).join('\n')
  }
  const rest = lines.join('\n')
  if (!/\.json(\.gz)?$/.test(path)) yield rest
  else {
    const rows: unknown = parsed(rest)
    if (Array.isArray(rows)) for (const row of rows) yield textOf(row)
    else yield textOf(rows)
  }
}

function jsonText(line: string): string {
  return textOf(parsed(line))
}

/** Returns what a text holds as JSON, or the text itself if it is none. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** Returns all values within a value, in order, as one text. */
function textOf(value: unknown): string {
  if (typeof value !== 'object' || value === null) return String(value)
  return Object.values(value).map(textOf).join(' ')
}
