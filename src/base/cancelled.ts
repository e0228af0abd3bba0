/** How the library says that a caller has cancelled its request. */
import { ForetokenError } from './errors.ts'

/** Returns the error of a request that its caller has cancelled; `cause` is the signal's reason. */
export function cancelled(cause?: unknown): ForetokenError {
  return new ForetokenError('aborted', 'the request was cancelled', cause === undefined ? {} : { cause })
}

/** Throws `aborted` if `signal` has fired. */
export function throwIfAborted(signal?: AbortSignal): void {
  if (signal?.aborted) throw cancelled(signal.reason)
}

/**
 * Returns why a request ended with its signal: the engine's own reason, or else `aborted`, caused
 * by the caller's.
 */
export function abortReason({ reason }: AbortSignal): ForetokenError {
  if (reason instanceof ForetokenError && reason.code === 'aborted') return reason
  return cancelled(reason)
}
