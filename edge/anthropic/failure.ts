/** Failures in Anthropic's format: `{type: 'error', error: {type, message}, request_id}`. */
import type { ApiError, Failure } from '../errors.ts'
import type { ErrorResponse } from './answer-schemas.ts'

/** Returns a failure as Anthropic's clients read it, with their status for a server that is busy. */
export function anthropicFailure(error: ApiError, requestId: string): Failure {
  return { status: error.status === 503 ? 529 : error.status, body: errorBody(error, requestId) }
}

/** Returns the body of a failure; a stream reports it as an event. */
export function errorBody({ status, message, param }: ApiError, requestId: string): ErrorResponse {
  // Clients that ask for threads send the whole conversation when they are told this.
  const details = param === 'thread' ? { details: { error_code: 'thread_unsupported_request' } as const } : {}
  return { type: 'error', error: { type: typeOf(status), message, ...details }, request_id: requestId }
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
    case 503:
      return 'overloaded_error'
    case 408:
    case 504:
      return 'timeout_error'
    default:
      return status >= 500 ? 'api_error' : 'invalid_request_error'
  }
}
