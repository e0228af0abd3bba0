/** Failures in Anthropic's format: `{type: 'error', error: {type, message}, request_id}`. */
import type { ApiError, Failure } from '../errors.ts'
import type { ErrorResponse } from './answer-schemas.ts'

/**
 * Returns a failure as Anthropic's clients read it. A server that is busy has a status of theirs; a
 * failure after which nobody should try again is none of that.
 */
export function anthropicFailure(error: ApiError, requestId: string): Failure {
  return { status: statusOf(error), body: errorBody(error, requestId) }
}

function statusOf({ status, headers }: ApiError): number {
  if (status !== 503) return status
  return headers['retry-after'] === undefined ? 500 : 529
}

/** Returns the body of a failure; a stream reports it as an event. */
export function errorBody(error: ApiError, requestId: string): ErrorResponse {
  const { message, param } = error
  // Clients that ask for threads send the whole conversation when they are told this.
  const details = param === 'thread' ? { details: { error_code: 'thread_unsupported_request' } as const } : {}
  return { type: 'error', error: { type: typeOf(statusOf(error)), message, ...details }, request_id: requestId }
}

function typeOf(status: number): ErrorResponse['error']['type'] {
  switch (status) {
    case 401:
      return 'authentication_error'
    case 403:
      return 'permission_error'
    case 404:
      return 'not_found_error'
    case 429:
      return 'rate_limit_error'
    case 529:
      return 'overloaded_error'
    case 408:
    case 504:
      return 'timeout_error'
    default:
      return status >= 500 ? 'api_error' : 'invalid_request_error'
  }
}
