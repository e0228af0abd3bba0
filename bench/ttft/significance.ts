/**
 * Tests whether two sets of times differ, with Mann and Whitney's U (1947): exact for small sets,
 * by the normal approximation with a correction for ties for larger ones. The size of the
 * difference is the median of all ratios (Hodges and Lehmann 1963) with an interval from U. Holm's
 * correction (1979) applies when many rows are tested at once.
 */
import { defined } from '../../src/base/at.ts'

/** Sets up to this size, without ties, are counted exactly. */
const exactSize = 20

export interface Comparison {
  /** Two-sided. */
  readonly p: number
  /** The second set divided by the first. */
  readonly ratio: number
  /** 95 % interval. */
  readonly interval: readonly [low: number, high: number]
}

/** Compares two sets that hold at least one positive number each. */
export function compare(a: readonly number[], b: readonly number[]): Comparison {
  const ratios = a.flatMap((x) => b.map((y) => y / x)).sort((x, y) => x - y)
  const middle = (ratios.length - 1) / 2
  const ratio = Math.sqrt(defined(ratios[Math.floor(middle)]) * defined(ratios[Math.ceil(middle)]))
  // As many ratios lie outside the interval as U may be small.
  const spread = 1.96 * Math.sqrt((a.length * b.length * (a.length + b.length + 1)) / 12)
  const out = Math.max(0, Math.floor(ratios.length / 2 - spread))
  return { p: mannWhitney(a, b), ratio, interval: [defined(ratios[out]), defined(ratios[ratios.length - 1 - out])] }
}

/** Returns the two-sided p of no difference. */
export function mannWhitney(a: readonly number[], b: readonly number[]): number {
  const [m, n] = [a.length, b.length]
  let u = 0
  for (const x of a) for (const y of b) u += x < y ? 1 : x === y ? 0.5 : 0
  const least = Math.min(u, m * n - u)
  const ties = tieSizes([...a, ...b])
  if (ties.length === 0 && Math.max(m, n) <= exactSize) return Math.min(1, 2 * exactTail(m, n, least))
  const all = m + n
  const tied = ties.reduce((sum, size) => sum + size ** 3 - size, 0)
  const variance = ((m * n) / 12) * (all + 1 - tied / (all * (all - 1)))
  if (!(variance > 0)) return 1
  const z = Math.max(0, Math.abs(u - (m * n) / 2) - 0.5) / Math.sqrt(variance)
  return Math.min(1, 2 * (1 - normal(z)))
}

/** Returns each p after Holm's correction, in the original order. */
export function holm(ps: readonly number[]): number[] {
  const order = ps.map((p, at) => ({ p, at })).sort((x, y) => x.p - y.p)
  const out = Array<number>(ps.length)
  let highest = 0
  order.forEach(({ p, at }, rank) => {
    highest = Math.max(highest, Math.min(1, p * (ps.length - rank)))
    out[at] = highest
  })
  return out
}

/**
 * Returns the share of all orders of m and n values in which U is at most `u`, by the recurrence of
 * Mann and Whitney's paper.
 */
function exactTail(m: number, n: number, u: number): number {
  const most = m * n
  // counts[j][k] is the number of orders of i values of the first set and j of the second with U =
  // k; i grows.
  let counts = Array.from({ length: n + 1 }, () => Float64Array.from({ length: most + 1 }, (_, k) => (k === 0 ? 1 : 0)))
  for (let i = 1; i <= m; i++) {
    const next = [Float64Array.from({ length: most + 1 }, (_, k) => (k === 0 ? 1 : 0))]
    for (let j = 1; j <= n; j++)
      next.push(
        Float64Array.from(
          { length: most + 1 },
          (_, k) => (k >= j ? defined(defined(counts[j])[k - j]) : 0) + defined(defined(next[j - 1])[k]),
        ),
      )
    counts = next
  }
  const all = defined(counts[n])
  let [tail, total] = [0, 0]
  all.forEach((count, k) => {
    total += count
    if (k <= u) tail += count
  })
  return tail / total
}

function tieSizes(values: readonly number[]): number[] {
  const counts = new Map<number, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  return [...counts.values()].filter((count) => count > 1)
}

/**
 * Returns the share of a standard normal variable below z: Abramowitz and Stegun 26.2.17, within
 * 7.5e-8.
 */
function normal(z: number): number {
  const t = 1 / (1 + 0.2316419 * z)
  const tail = t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
  return 1 - Math.exp((-z * z) / 2) * 0.3989422804014327 * tail
}
