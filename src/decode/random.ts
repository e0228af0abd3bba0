/** Seeded random numbers, the same on every platform. */
import { type Seed, seedHalves } from './seed.ts'

/**
 * Uniform numbers in [0, 1) with 53 random bits. The generator is sfc32 (C. Doty-Humphrey, PractRand), its state filled
 * by splitmix32 from both halves of `seed`. Without a seed the platform's entropy is used.
 */
export function createRandom(seed?: Seed): () => number {
  const [low, high] = seed === undefined ? crypto.getRandomValues(new Uint32Array(2)) : seedHalves(seed)
  const fill = splitmix32(low!)
  let a = fill() ^ high!
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
  for (let i = 0; i < 12; i++) next() // sfc32 needs a dozen rounds before near seeds differ in every bit
  return () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53
}

/** Steele, Lea and Flood's SplitMix with the 32-bit finaliser of MurmurHash3. */
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
