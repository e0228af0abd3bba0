/**
 * The one error class. Every failure that a caller can meet has a code from this closed list, and a
 * message with the numbers and the next step.
 */

export const errorCodes = [
  'bad_argument', // an option or parameter is out of its range
  'bad_model', // a model, tokenizer or config file is malformed, truncated or hostile
  'unsupported', // a well-formed model uses an architecture, tensor type or feature we do not have
  'bad_prefix', // a file of a prefix or of chunks is malformed, or of another version
  'bad_kv', // a stream of K and V is malformed, truncated, out of order, or of another version
  'bad_mac', // a stream of K and V was not made by who holds the key, or for another request
  'bad_predictor', // a predictor file is malformed, damaged, or of another version
  'wrong_model', // a prefix, a predictor or a stream of K and V was made by another model, or for another kind of KV
  'not_found', // no such model, file or repository
  'context_exceeded', // the prompt does not fit in the context
  'empty_prompt', // nothing to prefill
  'out_of_pages', // the KV pool is full
  'out_of_memory', // memory could not grow
  'disk_full', // a write failed for lack of space
  'io', // another read or write failed
  'network', // a download failed and its retries are used up
  'remote', // a companion refused, failed, or took too long
  'checksum', // the bytes that arrived are not the bytes that were promised
  'offline', // a download is needed and the network may not or cannot be used
  'worker_lost', // a compute thread died or stopped answering
  'aborted', // the caller's AbortSignal fired
  'busy', // the engine can't take more work now
  'internal', // a bug in foretoken: please report
] as const

export type ErrorCode = (typeof errorCodes)[number]

const codes: ReadonlySet<string> = new Set(errorCodes)

/** A failure, with its code. */
export class ForetokenError extends Error {
  override readonly name = 'ForetokenError'
  readonly code: ErrorCode
  /** The argument at fault, where it is one of several that a request has: `guide`, `tools`. */
  declare readonly argument?: string

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown; argument?: string }) {
    super(message, options)
    this.code = code
    if (options?.argument !== undefined) this.argument = options.argument
  }

  /**
   * Returns true for errors of other copies of this package, too: the bundles of `foretoken/node`
   * and `foretoken/edge` hold a class each.
   */
  static override [Symbol.hasInstance](value: unknown): boolean {
    // biome-ignore lint/complexity/noThisInStatic: subclasses inherit this method and are matched as usual
    if (Function.prototype[Symbol.hasInstance].call(this, value)) return true
    // biome-ignore lint/complexity/noThisInStatic: as above
    if (this !== ForetokenError || !(value instanceof Error)) return false
    return value.name === 'ForetokenError' && codes.has((value as ForetokenError).code)
  }
}

/**
 * Returns `error` itself if it is a ForetokenError, of this copy of the package or another, and
 * else a ForetokenError that wraps it under `code`. Never throws, whatever `error` is, so that
 * handling an error can't lose it.
 */
export function asForetokenError(error: unknown, code: ErrorCode = 'internal', context = ''): ForetokenError {
  // Programs in JavaScript may pass any code.
  const known = codes.has(code) ? code : 'internal'
  let detail = 'a value was thrown that has no text'
  try {
    if (error instanceof ForetokenError) return error
    detail = error instanceof Error ? String(error.message) : String(error)
  } catch {
    // An object without a prototype, or with traps or getters that throw.
  }
  return new ForetokenError(known, typeof context === 'string' && context ? `${context}: ${detail}` : detail, {
    cause: error,
  })
}
