/** Reads durations as people and clients in Go write them. */

const units: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
}

/**
 * Returns the milliseconds of a duration such as `90s`, `1h30m` or `1.5m`; a number without a unit
 * counts seconds. Negative ones are allowed. Returns undefined for any other text.
 */
export function millisecondsOf(text: string): number | undefined {
  const [, sign, rest = ''] = /^\s*([+-]?)(.*?)\s*$/s.exec(text) ?? []
  const plain = /^\d+(\.\d*)?$|^\.\d+$/.test(rest) ? `${rest}s` : rest
  const parts = [...plain.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)/gy)]
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== plain) return undefined
  const sum = parts.reduce((ms, [, count, unit = '']) => ms + Number(count) * (units[unit] ?? 0), 0)
  return sign === '-' ? -sum : sum
}
