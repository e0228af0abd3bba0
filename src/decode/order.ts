/** The largest scores, in order, in time that the number of scores bounds and no option makes longer. */

/** Up to so many ids are kept in a heap, or sorted by comparing; beyond, a radix sort is less work. */
const few = 128

const digitBits = 11
const digits = 3
const buckets = 1 << digitBits

/** Working memory of the radix sort, as large as the largest list so far: it is used from call to return only. */
let room = { keys: new Uint32Array(0), nextKeys: new Uint32Array(0), nextIds: new Int32Array(0) }
const counts = new Uint32Array(digits * buckets)

/**
 * Ids of the `k` largest scores, largest first, the lower id first among equals; fewer where fewer are above -Infinity, the score of
 * what may not be drawn.
 */
export function topIds(scores: Float32Array, k: number): Int32Array {
  const size = Math.min(k, scores.length)
  const best = size <= few ? heapOf(scores, size) : sortBest(scores, allOf(scores)).subarray(0, size)
  let end = size
  while (end > 0 && scores[best[end - 1]!] === Number.NEGATIVE_INFINITY) end--
  return best.subarray(0, end)
}

function allOf(scores: Float32Array): Int32Array {
  return Int32Array.from({ length: scores.length }, (_, id) => id)
}

/** Sorts ascending ids in place: the largest score first, the lower id first among equals. No score is NaN. */
export function sortBest(scores: Float32Array, ids: Int32Array): Int32Array {
  if (ids.length <= few) return ids.sort((a, b) => scores[b]! - scores[a]! || a - b)
  const size = ids.length
  if (room.keys.length < size)
    room = { keys: new Uint32Array(size), nextKeys: new Uint32Array(size), nextIds: new Int32Array(size) }
  const floats = new Float32Array(room.keys.buffer)
  counts.fill(0)
  // -0 becomes 0: they are equal.
  for (let i = 0; i < size; i++) floats[i] = scores[ids[i]!]! + 0
  for (let i = 0; i < size; i++) {
    const key = descending(room.keys[i]!)
    room.keys[i] = key
    for (let digit = 0; digit < digits; digit++) counts[digit * buckets + digitOf(key, digit)]!++
  }
  let [keys, nextKeys] = [room.keys, room.nextKeys]
  let [from, to]: [Int32Array, Int32Array] = [ids, room.nextIds]
  for (let digit = 0; digit < digits; digit++) {
    const at = digit * buckets
    let before = 0
    for (let bucket = 0; bucket < buckets; bucket++) {
      const count = counts[at + bucket]!
      counts[at + bucket] = before
      before += count
    }
    for (let i = 0; i < size; i++) {
      const key = keys[i]!
      const place = counts[at + digitOf(key, digit)]!++
      nextKeys[place] = key
      to[place] = from[i]!
    }
    ;[keys, nextKeys, from, to] = [nextKeys, keys, to, from]
  }
  if (from !== ids) ids.set(from.subarray(0, size))
  return ids
}

/** A float's bits as a number that is smaller the larger the float is. */
function descending(bits: number): number {
  return bits >>> 31 === 1 ? bits : ~bits & 0x7fffffff
}

function digitOf(key: number, digit: number): number {
  return (key >>> (digit * digitBits)) & (buckets - 1)
}

/** The root of the heap is the worst of the k: the lowest score, the highest id among equals. */
function heapOf(scores: Float32Array, size: number): Int32Array {
  const heap = Int32Array.from({ length: size }, (_, i) => i)
  if (size === 0) return heap
  const worse = (a: number, b: number) => scores[a]! < scores[b]! || (scores[a]! === scores[b]! && a > b)
  const sift = (from: number) => {
    let at = from
    const id = heap[at]!
    for (let child = 2 * at + 1; child < size; child = 2 * at + 1) {
      if (child + 1 < size && worse(heap[child + 1]!, heap[child]!)) child++
      if (!worse(heap[child]!, id)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = id
  }
  for (let i = (size >> 1) - 1; i >= 0; i--) sift(i)
  let floor = scores[heap[0]!]!
  for (let i = size; i < scores.length; i++) {
    if (scores[i]! <= floor) continue
    heap[0] = i
    sift(0)
    floor = scores[heap[0]!]!
  }
  return heap.sort((a, b) => (worse(a, b) ? 1 : -1))
}
