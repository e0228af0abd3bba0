/** Returns true if `value` is a whole number from `least` to `most`, both included. */
export function isWhole(value: unknown, least = 0, most = Number.MAX_SAFE_INTEGER): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most
}
