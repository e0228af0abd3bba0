/** Reads and writes binary16, as the scales of blocks are. */

const halves = new DataView(new ArrayBuffer(4))

/** Returns the value of a binary16. */
export function half(view: DataView, at: number): number {
  const word = view.getUint16(at, true)
  const exponent = (word >> 10) & 31
  const fraction = word & 1023
  const value = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25)
  return word & 0x8000 ? -value : value
}

/** Packs d and m into a word of two binary16, rounded to nearest even. */
export function packed(d: number, m: number): number {
  return binary16(d) | (binary16(m) << 16)
}

function binary16(value: number): number {
  halves.setFloat32(0, value)
  const word = halves.getUint32(0)
  const sign = (word >>> 16) & 0x8000
  const exponent = ((word >>> 23) & 255) - 112
  const fraction = word & 0x7fffff
  if (exponent >= 31) return sign | 0x7bff
  // Numbers below the normal ones keep as many bits as are left.
  const shift = exponent > 0 ? 13 : Math.min(31, 14 - exponent)
  const whole = exponent > 0 ? (exponent << 23) | fraction : fraction | 0x800000
  const kept = whole >>> shift
  const rest = whole & ((1 << shift) - 1)
  const middle = 1 << (shift - 1)
  const up = rest > middle || (rest === middle && (kept & 1) === 1) ? 1 : 0
  return sign | Math.min(0x7bff, shift === 31 ? 0 : kept + up)
}
