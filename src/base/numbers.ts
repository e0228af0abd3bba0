/** Returns true if `value` is a whole number from `least` to `most`, both included. */
export function isWhole(value: unknown, least = 0, most = Number.MAX_SAFE_INTEGER): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most
}

/**
 * Returns the sum of exp(logit - top), in f64. With `top` the largest logit, `top + Math.log(sum)`
 * is the log of the sum of exp(logit), and a logit less that is its log-probability.
 */
export function sumExp(logits: Float32Array, top: number): number {
  let sum = 0
  for (const logit of logits) sum += Math.exp(logit - top)
  return sum
}
