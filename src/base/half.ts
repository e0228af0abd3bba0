/** Converts between numbers and the bits of IEEE 754 binary16; Node 22 has no Float16Array. */

/** Returns the number that the bits of a binary16 stand for. */
export function halfToFloat(bits: number): number {
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  const magnitude =
    exponent === 0
      ? fraction * 2 ** -24
      : exponent === 31
        ? fraction
          ? NaN
          : Infinity
        : (1024 + fraction) * 2 ** (exponent - 25)
  return bits & 0x8000 ? -magnitude : magnitude
}

/**
 * Returns the nearest binary16, ties away from zero; a number that is too large becomes the
 * largest.
 */
export function floatToHalf(value: number): number {
  const sign = value < 0 ? 0x8000 : 0
  const size = Math.min(Math.abs(value), 65_504)
  if (size === 0) return sign
  const exponent = Math.max(-14, Math.floor(Math.log2(size)))
  const fraction = Math.round((size / 2 ** exponent) * 1024)
  // A subnormal has the exponent of the smallest normal number and no leading one. Carries into the
  // exponent need no special case.
  return sign | Math.min(0x7bff, ((exponent + 14) << 10) + fraction)
}

/** 65,520, from which on numbers round beyond the largest binary16, as the bits of an f32. */
const tooLarge = 0x477ff000
/** 2 ** -14, below which a binary16 is subnormal, as the bits of an f32. */
const leastNormal = 0x38800000

/**
 * Writes the nearest binary16 of each value, ties to even, into `into`. Returns false, and writes no
 * more, at a value that is too large or not a number.
 */
export function toHalves(values: Float32Array, into: Uint16Array): boolean {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length)
  const one = new Float32Array(1)
  const oneBits = new Uint32Array(one.buffer)
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i] as number
    const size = word & 0x7fffffff
    if (size >= tooLarge) return false
    const sign = (word >>> 16) & 0x8000
    if (size < leastNormal) {
      // Between .5 and 1 an f32 has steps of 2 ** -24, as a subnormal binary16 has, so this sum rounds.
      one[0] = Math.abs(values[i] as number) + 0.5
      into[i] = sign | ((oneBits[0] as number) - 0x3f000000)
    } else into[i] = sign | ((size - 0x38000000 + 0xfff + ((size >>> 13) & 1)) >>> 13)
  }
  return true
}

let table: Float32Array | undefined

/** Writes the number that each binary16 stands for into `into`. */
export function fromHalves(halves: Uint16Array, into: Float32Array): void {
  table ??= Float32Array.from({ length: 1 << 16 }, (_, bits) => halfToFloat(bits))
  for (let i = 0; i < halves.length; i++) into[i] = table[halves[i] as number] as number
}
