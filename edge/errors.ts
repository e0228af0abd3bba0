/** Failures in OpenAI's format: `{error: {message, type, code, param}}` with a status. */
import { asForetokenError, type ErrorCode, ForetokenError } from '../src/index.ts'

export type Status = 400 | 401 | 403 | 404 | 405 | 408 | 413 | 415 | 429 | 499 | 500 | 503 | 504

export interface ApiErrorOptions {
  /** Machine-readable code: `model_not_found`, `context_length_exceeded`, ... */
  readonly code: string
  /** The field at fault, such as `messages[0].content`. */
  readonly param?: string | undefined
  /** Seconds after which to try again. */
  readonly retryAfter?: number | undefined
  /** Further response headers. */
  readonly headers?: Readonly<Record<string, string>>
  readonly cause?: unknown
}

/** A refusal by this server, before or instead of computing. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly status: Status
  readonly code: string
  readonly param: string | undefined
  readonly headers: Readonly<Record<string, string>>

  constructor(status: Status, message: string, options: ApiErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.status = status
    this.code = options.code
    this.param = options.param
    const { retryAfter, headers } = options
    this.headers = {
      ...(retryAfter !== undefined && { 'retry-after': String(Math.max(1, Math.ceil(retryAfter))) }),
      ...headers,
    }
  }

  /**
   * Recognizes errors of another copy of this class: `foretoken/edge` and `foretoken/companion`
   * bundle one each.
   */
  static override [Symbol.hasInstance](value: unknown): boolean {
    if (!(value instanceof Error)) return false
    return value.name === 'ApiError' && Number.isInteger((value as ApiError).status)
  }

  /** The body of the response. */
  get body(): ErrorBody {
    return {
      error: { message: this.message, type: typeOf(this.status), code: this.code, param: this.param ?? null },
    }
  }
}

/** Returns the refusal of a request that had not begun when the server began to stop. */
export function stopping(server = 'the server'): ApiError {
  return new ApiError(503, `${server} is stopping; send the request to another server, or retry in a moment`, {
    code: 'stopping',
    retryAfter: 2,
    headers: { connection: 'close' },
  })
}

/** A failure as one API reports it. */
export interface Failure {
  readonly status: number
  /** The body, as JSON. */
  readonly body: object
}

export interface ErrorBody {
  readonly error: {
    readonly message: string
    readonly type: string
    readonly code: string | null
    readonly param: string | null
  }
}

/** Returns the field of a request that an argument of the library was read from. */
export type FieldOf = (argument: string) => string | undefined

/**
 * Converts any failure to an ApiError. Clients do not see the message of a bug, which may name
 * files of this machine.
 */
export function asApiError(error: unknown, fieldOf?: FieldOf): ApiError {
  if (error instanceof ApiError) return error
  const known = asForetokenError(error)
  const { status, code, param, retryAfter } = ofCode[known.code] ?? { status: 500, code: known.code }
  const hidden = status === 500
  return new ApiError(status, hidden ? `the server failed (${known.code}); see its log` : known.message, {
    code: code ?? known.code,
    param: (known.argument !== undefined && fieldOf?.(known.argument)) || param,
    retryAfter,
    cause: error,
  })
}

/** Failures of a load that come again with the next request, and whose messages tell of the model. */
const lasting: ReadonlySet<ErrorCode> = new Set([
  'bad_argument',
  'bad_model',
  'unsupported',
  'bad_prefix',
  'bad_predictor',
  'wrong_model',
  'not_found',
  'checksum',
  'offline',
])

/**
 * Returns the failure of a request whose model could not be loaded. One that would come again tells its
 * reason, and asks nobody to try again.
 */
export function loadFailure(error: unknown, model = 'the model'): ApiError {
  const { code, message } = asForetokenError(error)
  const failed = { code: 'model_not_loaded', cause: error }
  if (!lasting.has(code))
    return new ApiError(503, `${model} could not be loaded (${code}); the next request tries again`, {
      ...failed,
      retryAfter: 5,
    })
  const reason = withoutFolders(message)
  return new ApiError(503, `${model} can't be loaded: ${reason} (${code}); use another model until that is mended`, {
    ...failed,
    // Clients of OpenAI and Anthropic try again after any 5xx unless they are told this.
    headers: { 'x-should-retry': 'false' },
  })
}

/**
 * Returns a message without the folders of this machine and the hosts that it names: of a path that
 * begins at the root, and of an address, the last name is left.
 */
export function withoutFolders(message: string): string {
  return message
    .replace(/\bhttps?:\/\/[^\s"'`]*\//g, '')
    .replace(/(^|[\s"'`(=,;])(?:file:\/\/|[A-Za-z]:)?(?:[\\/][^\\/"'`:;,]*)*[\\/](?=[^\s\\/])/g, '$1')
}

interface Mapped {
  readonly status: Status
  readonly code?: string
  readonly param?: string
  readonly retryAfter?: number
}

/** Failures caused by the request or by load. All others are this server's fault. */
const ofCode: Partial<Record<ErrorCode, Mapped>> = {
  bad_argument: { status: 400, code: 'invalid_value' },
  // Once a model runs, this means that its chat template refused the order of roles.
  bad_model: { status: 400, code: 'invalid_value', param: 'messages' },
  unsupported: { status: 400, code: 'unsupported_value' },
  empty_prompt: { status: 400, code: 'empty_prompt' },
  context_exceeded: { status: 400, code: 'context_length_exceeded' },
  busy: { status: 503, code: 'busy', retryAfter: 1 },
  out_of_pages: { status: 503, code: 'out_of_pages', retryAfter: 2 },
  out_of_memory: { status: 503, code: 'out_of_memory', retryAfter: 5 },
  worker_lost: { status: 503, code: 'worker_lost', retryAfter: 5 },
  aborted: { status: 499, code: 'aborted' },
}

function typeOf(status: Status): string {
  if (status === 401) return 'authentication_error'
  if (status === 403) return 'permission_error'
  if (status === 429) return 'rate_limit_error'
  return status >= 500 ? 'server_error' : 'invalid_request_error'
}

/** Returns an error for an invalid setting, for the operator. */
export function badConfig(message: string): ForetokenError {
  return new ForetokenError('bad_argument', message)
}
