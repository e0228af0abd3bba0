/**
 * Finds the largest scores, in order. The time depends on the number of scores only, not on options.
 *
 * The innermost comparisons read scores with `??`, whose default is never used: a call of `defined`
 * there costs 3 to 5 % of the whole, since less is inlined.
 */

import { defined } from '../base/at.ts'
import { few, sortBest } from './radix-sort.ts'

/**
 * Returns the ids of the `k` largest scores, largest first, and the lower id first among equals.
 * Returns fewer if fewer scores are above -Infinity, which marks tokens that must not be drawn.
 */
export function topIds(scores: Float32Array, k: number): Int32Array {
  const size = Math.min(k, scores.length)
  const best = size <= few ? heapOf(scores, size) : sortBest(scores, allOf(scores)).subarray(0, size)
  let end = size
  while (end > 0 && scores[defined(best[end - 1])] === Number.NEGATIVE_INFINITY) end--
  return best.subarray(0, end)
}

function allOf(scores: Float32Array): Int32Array {
  return Int32Array.from({ length: scores.length }, (_, id) => id)
}

/**
 * Collects the best ids in a heap whose root is the worst of them: the lowest score, and the
 * highest id among equals.
 */
function heapOf(scores: Float32Array, size: number): Int32Array {
  const heap = Int32Array.from({ length: size }, (_, i) => i)
  if (size === 0) return heap
  const worse = (a: number, b: number) => {
    const scoreA = scores[a] ?? Number.NaN
    const scoreB = scores[b] ?? Number.NaN
    return scoreA < scoreB || (scoreA === scoreB && a > b)
  }
  const sift = (from: number) => {
    let at = from
    const id = defined(heap[at])
    for (let child = 2 * at + 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && worse(defined(heap[child + 1]), defined(heap[child]))) child++
      const below = defined(heap[child])
      if (!worse(below, id)) break
      heap[at] = below
      at = child
    }
    heap[at] = id
  }
  for (let i = (size >> 1) - 1; i >= 0; i--) sift(i)
  const worst = () => defined(scores[defined(heap[0])])
  let floor = worst()
  for (let i = size; i < scores.length; i++) {
    const score = scores[i]
    if (score === undefined || score <= floor) continue
    heap[0] = i
    sift(0)
    floor = worst()
  }
  return heap.sort((a, b) => (worse(a, b) ? 1 : -1))
}
