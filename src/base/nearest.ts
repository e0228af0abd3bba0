/** Finds the words that somebody may have meant. */

/** Returns the word that is most similar to `word`, or undefined if none is similar enough. */
export function nearest<T extends string>(word: string, words: readonly T[]): T | undefined {
  return nearestOf(word, words, 1)[0]
}

/** Returns the `most` words that are most similar to `word`, the best first, without those that are too different. */
export function nearestOf<T extends string>(word: string, words: readonly T[], most: number): T[] {
  return words
    .map((other) => ({ other, distance: distance(word, other) }))
    .filter(({ other, distance }) => distance <= Math.max(1, Math.floor(other.length / 3)))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, most)
    .map(({ other }) => other)
}

/**
 * Counts insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
 */
function distance(a: string, b: string): number {
  let before: number[] = []
  let row = Array.from({ length: b.length + 1 }, (_, n) => n)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const changed = at(row, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? at(before, j - 2) + 1 : Infinity
      next.push(Math.min(at(row, j) + 1, at(next, j - 1) + 1, changed, swapped))
    }
    before = row
    row = next
  }
  return at(row, b.length)
}

/** Returns an entry of a row; there is nothing beyond it. */
function at(row: readonly number[], index: number): number {
  return row[index] ?? Infinity
}
