/** Estimates of times, and of the earlier of two. */

/** Describes the next value, as the latest ones suggest it. */
export interface Estimate {
  readonly mean: number
  /** Standard deviation of the next value. */
  readonly deviation: number
  /** Standard error: the standard deviation of the mean itself. */
  readonly doubt: number
}

/**
 * Estimates when the first of two concurrent runs is done: the mean of the smaller of two normal
 * variables (C. E. Clark, The greatest of a finite set of random variables, 1961). Times with few
 * measurements are not normally distributed, so the result is at least half of the smaller mean.
 */
export function earlier(a: Estimate, b: Estimate): Estimate {
  const spread = Math.hypot(a.deviation + a.doubt, b.deviation + b.doubt)
  const doubt = Math.min(a.doubt, b.doubt)
  if (spread === 0) return { mean: Math.min(a.mean, b.mean), deviation: 0, doubt }
  const apart = (b.mean - a.mean) / spread
  const mean =
    a.mean * below(apart) + b.mean * below(-apart) - spread * Math.exp(-(apart ** 2) / 2) * 0.3989422804014327
  return { mean: Math.max(0.5 * Math.min(a.mean, b.mean), mean), deviation: Math.min(a.deviation, b.deviation), doubt }
}

/**
 * Returns the probability that a standard normal variable is below `x`: the logistic approximation
 * of Bowling et al. (2009), within 0.0002.
 */
function below(x: number): number {
  return 1 / (1 + Math.exp(-(0.07056 * x ** 3 + 1.5976 * x)))
}
