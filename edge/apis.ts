/** The APIs of this server: which one a request belongs to, and how each reports a failure. */
import { anthropicFailure } from './anthropic/failure.ts'
import type { ApiError, Failure } from './errors.ts'

export type ApiName = 'openai' | 'anthropic' | 'ollama'

/**
 * Returns the API of a request. Routes that Anthropic's API shares with OpenAI's are distinguished
 * by the header that its clients always send.
 */
export function apiOf({ url, headers }: Request): ApiName {
  const path = pathOf(url)
  if (/^\/api(\/|$)/.test(path)) return 'ollama'
  if (/^\/v1\/messages(\/|$)/.test(path)) return 'anthropic'
  return /^\/v1(\/|$)/.test(path) && headers.has('anthropic-version') ? 'anthropic' : 'openai'
}

/** Returns a failure as the API's clients read it. */
export function failureOf(api: ApiName, error: ApiError, requestId: string): Failure {
  switch (api) {
    case 'anthropic':
      return anthropicFailure(error, requestId)
    case 'ollama':
      return { status: error.status, body: { error: error.message } }
    default:
      return error
  }
}

/** Returns the path of an address, which may be malformed. */
function pathOf(url: string): string {
  return URL.canParse(url) ? new URL(url).pathname : ''
}
