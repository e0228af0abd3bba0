/** A small seeded generator for tests: sfc32 (C. Doty-Humphrey, PractRand). Print the seed when a test fails. */
export interface Random {
  /** Returns a uniform number in [0, 1). */
  unit(): number
  /** Returns a uniform whole number in [0, below). */
  below(below: number): number
  /** Returns a normal number with mean 0 and deviation 1. */
  normal(): number
  floats(count: number): Float32Array
  bytes(count: number): Uint8Array
}

export function random(seed: number): Random {
  let a = 0x9e3779b9
  let b = 0x243f6a88
  let c = seed | 0
  let counter = 1
  const next = () => {
    const t = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = (((c << 21) | (c >>> 11)) + t) | 0
    return t >>> 0
  }
  for (let i = 0; i < 12; i++) next()
  const unit = () => next() / 2 ** 32
  const normal = () => Math.sqrt(-2 * Math.log(1 - unit())) * Math.cos(2 * Math.PI * unit())
  return {
    unit,
    below: (below) => Math.floor(unit() * below),
    normal,
    floats: (count) => Float32Array.from({ length: count }, normal),
    bytes: (count) => Uint8Array.from({ length: count }, () => next() & 255),
  }
}
