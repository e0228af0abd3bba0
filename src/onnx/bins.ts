/**
 * Packs prompts into rectangular bins, one row of `capacity` tokens per bin, as Prepacking (arXiv
 * 2404.09529, section 3) does: for backends with static shapes. The flat pass of the Rust core
 * needs none.
 */
import { ForetokenError } from '../base/errors.ts'

/** A row, with its prompts in order; each begins at column `offset`. */
export interface Bin {
  readonly prompts: readonly { readonly index: number; readonly offset: number }[]
  /** Number of tokens in the row; the rest of its `capacity` is padding. */
  readonly tokens: number
}

/**
 * Packs by best-fit decreasing: the longest prompt first, each into the fullest bin that still
 * holds it. That takes at most 11/9 of the smallest possible number of bins, and 6/9 of a bin more
 * (D. S. Johnson, 1973). A prompt without tokens takes no columns, but is put into a bin. Throws
 * `bad_argument` for a prompt longer than a bin.
 */
export function binsOf(lengths: readonly number[], capacity: number): Bin[] {
  const bins: { prompts: { index: number; offset: number }[]; tokens: number }[] = []
  const longestFirst = lengths.map((length, index) => ({ length, index })).sort((a, b) => b.length - a.length)
  for (const { length, index } of longestFirst) {
    if (length > capacity)
      throw new ForetokenError('bad_argument', `prompt ${index} has ${length} tokens and a bin ${capacity}`)
    let best: (typeof bins)[number] | undefined
    for (const bin of bins) if (bin.tokens + length <= capacity && (!best || bin.tokens > best.tokens)) best = bin
    if (!best) {
      best = { prompts: [], tokens: 0 }
      bins.push(best)
    }
    best.prompts.push({ index, offset: best.tokens })
    best.tokens += length
  }
  return bins
}
