/** Generates seeded random numbers that are the same on every platform. */
import { defined } from '../base/at.ts'
import { type Seed, seedHalves } from './seed.ts'

/**
 * Returns a generator of uniform numbers in [0, 1) with 53 random bits. It is sfc32 (C.
 * Doty-Humphrey, PractRand), with its state filled by splitmix32 from both halves of `seed`.
 * Without a seed it uses the platform's entropy.
 */
export function createRandom(seed?: Seed): () => number {
  const [low, high] = seed === undefined ? crypto.getRandomValues(new Uint32Array(2)) : seedHalves(seed)
  const fill = splitmix32(defined(low))
  let a = fill() ^ defined(high)
  let b = fill()
  let c = fill()
  let counter = 1
  const next = () => {
    const out = (a + b + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (((c << 21) | (c >>> 11)) + out) | 0
    return out >>> 0
  }
  for (let i = 0; i < 12; i++) next() // nearby seeds differ in every bit only after a dozen rounds
  return () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53
}

/** Implements SplitMix (Steele, Lea and Flood) with the 32-bit finaliser of MurmurHash3. */
function splitmix32(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x9e3779b9) | 0
    let z = state
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b)
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35)
    return (z ^ (z >>> 16)) >>> 0
  }
}
