/**
 * Finds the largest scores, in order. The time depends on the number of scores only, not on options.
 *
 * The innermost comparisons read scores with `??`, whose default is never used: a call of `defined`
 * there costs 3 to 5 % of the whole, since less is inlined.
 */
import { defined } from '../base/at.ts'

/**
 * Lists of at most this many ids are kept in a heap or sorted by comparison; beyond it a radix sort
 * is cheaper.
 */
const few = 128

const digitBits = 11
const digits = 3
const buckets = 1 << digitBits

/**
 * Working memory of the radix sort, as large as the longest list so far. Used only within a call.
 */
let room = { keys: new Uint32Array(0), nextKeys: new Uint32Array(0), nextIds: new Int32Array(0) }
const counts = new Uint32Array(digits * buckets)

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
 * Sorts ascending ids in place by score: the largest first, and the lower id first among equals. No
 * score may be NaN.
 */
export function sortBest(scores: Float32Array, ids: Int32Array): Int32Array {
  if (ids.length <= few) return ids.sort((a, b) => defined(scores[b]) - defined(scores[a]) || a - b)
  const size = ids.length
  if (room.keys.length < size)
    room = { keys: new Uint32Array(size), nextKeys: new Uint32Array(size), nextIds: new Int32Array(size) }
  const floats = new Float32Array(room.keys.buffer)
  counts.fill(0)
  // Adding 0 turns -0 into 0, which must compare as equal.
  for (let i = 0; i < size; i++) floats[i] = defined(scores[defined(ids[i])]) + 0
  for (let i = 0; i < size; i++) {
    const key = descending(defined(room.keys[i]))
    room.keys[i] = key
    for (let digit = 0; digit < digits; digit++) {
      const bucket = digit * buckets + digitOf(key, digit)
      counts[bucket] = defined(counts[bucket]) + 1
    }
  }
  let [keys, nextKeys] = [room.keys, room.nextKeys]
  let [from, to]: [Int32Array, Int32Array] = [ids, room.nextIds]
  for (let digit = 0; digit < digits; digit++) {
    const first = digit * buckets
    let before = 0
    for (let bucket = first; bucket < first + buckets; bucket++) {
      const count = defined(counts[bucket])
      counts[bucket] = before
      before += count
    }
    for (let i = 0; i < size; i++) {
      const key = defined(keys[i])
      const bucket = first + digitOf(key, digit)
      const place = defined(counts[bucket])
      counts[bucket] = place + 1
      nextKeys[place] = key
      to[place] = defined(from[i])
    }
    ;[keys, nextKeys, from, to] = [nextKeys, keys, to, from]
  }
  if (from !== ids) ids.set(from.subarray(0, size))
  return ids
}

/** Maps a float's bits to an unsigned integer that is smaller the larger the float is. */
function descending(bits: number): number {
  return bits >>> 31 === 1 ? bits : ~bits & 0x7fffffff
}

function digitOf(key: number, digit: number): number {
  return (key >>> (digit * digitBits)) & (buckets - 1)
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
