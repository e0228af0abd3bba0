/**
 * Small statistics for timings: medians, not means, since one slow sample says nothing about the
 * code.
 */

export interface Sample {
  /** Wall time, milliseconds. */
  readonly ms: number
  /** CPU time of the whole process, milliseconds. */
  readonly cpu_ms: number
}

/** Percentiles by nearest rank; all 0 without values. */
export interface Percentiles {
  readonly mean: number
  readonly p50: number
  readonly p95: number
  readonly p99: number
}

export interface Summary {
  readonly median: number
  readonly min: number
  readonly max: number
}

export function summary(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const median =
    sorted.length % 2 === 1
      ? (sorted[middle] ?? Number.NaN)
      : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2
  return { median, min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN }
}

/** Returns a summary whose numbers are rounded as `round` does. */
export function roundedSummary(values: readonly number[]): Summary {
  const { median, min, max } = summary(values)
  return { median: round(median), min: round(min), max: round(max) }
}

/** Returns the value below which a share `q` of all lies, by nearest rank. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))] ?? Number.NaN
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}

/** Times one call by the clock and by the processor. */
export async function timed(work: () => Promise<unknown>): Promise<Sample> {
  const cpu = cpuMs()
  const begun = performance.now()
  await work()
  const ms = performance.now() - begun
  return { ms, cpu_ms: cpuMs() - cpu }
}

/** Returns the CPU time of the whole process so far, in milliseconds. */
export function cpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

export function round(value: number, digits = 3): number {
  return Number(value.toPrecision(Math.max(digits, Math.ceil(Math.log10(Math.abs(value) + 1)))))
}

export function percentiles(values: readonly number[]): Percentiles {
  if (values.length === 0) return { mean: 0, p50: 0, p95: 0, p99: 0 }
  const at = (share: number) => round(quantile(values, share), 4)
  return { mean: round(mean(values), 4), p50: at(0.5), p95: at(0.95), p99: at(0.99) }
}

export function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : sum(values) / values.length
}
