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
