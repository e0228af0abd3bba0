/** Sorts ids by their scores, in time that depends on their number only. */
import { defined } from '../base/at.ts'

/**
 * Lists of at most this many ids are kept in a heap or sorted by comparison; beyond it a radix sort
 * is cheaper.
 */
export const few = 128

const digitBits = 11
const digits = 3
const buckets = 1 << digitBits

/**
 * Working memory of the radix sort, as large as the longest list so far. Used only within a call.
 */
let room = { keys: new Uint32Array(0), nextKeys: new Uint32Array(0), nextIds: new Int32Array(0) }
const counts = new Uint32Array(digits * buckets)

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
