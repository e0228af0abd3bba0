/** Describes scores that a failed forward pass left behind. */
import { ForetokenError } from '../base/errors.ts'

/**
 * Returns the error for logits (vocab) with NaN or +Infinity, or without a finite number: the first
 * that is wrong, and its place.
 */
export function notFinite(logits: Float32Array): ForetokenError {
  const at = logits.findIndex((logit) => Number.isNaN(logit) || logit === Number.POSITIVE_INFINITY)
  const what = at < 0 ? `none of ${logits.length} logits is finite` : `logit ${at} of ${logits.length} is ${logits[at]}`
  return new ForetokenError('internal', `${what}: the forward pass failed; please report the model and the build`)
}
