/** Finds the word that somebody may have meant. */

/** Returns the word that is most similar to `word`, or undefined if none is similar enough. */
export function nearest<T extends string>(word: string, words: readonly T[]): T | undefined {
  const scored = words.map((other) => ({ other, distance: distance(word, other) }))
  const best = scored.sort((a, b) => a.distance - b.distance)[0]
  return best && best.distance <= Math.max(1, Math.floor(best.other.length / 3)) ? best.other : undefined
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
      const changed = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      const swapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1] ? (before[j - 2] ?? Infinity) + 1 : Infinity
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, changed, swapped))
    }
    before = row
    row = next
  }
  return row[b.length]!
}
