/** Sends requests to an app in this process. */
import type { App } from '../../edge/server.ts'
import { testKeys } from './tiny-server.ts'

export interface Ask {
  readonly path?: string
  readonly method?: string
  /** API key. Default: tenant one's; '' sends none. */
  readonly key?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly raw?: BodyInit
  readonly signal?: AbortSignal
}

export const chatPath = '/v1/chat/completions'

/** A small chat request; its fields may be overridden. */
export function chatBody(change: object = {}): Record<string, unknown> {
  return { model: 'tiny', messages: [{ role: 'user', content: 'hello' }], max_tokens: 4, temperature: 0, ...change }
}

export async function ask(app: App, body?: unknown, options: Ask = {}): Promise<Response> {
  const { path = chatPath, key = testKeys.one, headers = {}, raw, signal } = options
  const content = raw ?? (body === undefined ? undefined : JSON.stringify(body))
  const init = {
    method: options.method ?? (content === undefined ? 'GET' : 'POST'),
    headers: { 'content-type': 'application/json', ...(key && { authorization: `Bearer ${key}` }), ...headers },
    ...(content !== undefined && { body: content, duplex: 'half' }),
    ...(signal && { signal }),
  }
  return app.fetch(new Request(`http://app.test${path}`, init as RequestInit))
}

/** Returns the status and the error in OpenAI's format. */
export async function refusal(
  response: Response,
): Promise<{ status: number; code: string; param: string | null; message: string }> {
  const { error } = await response.json()
  return { status: response.status, code: error.code, param: error.param, message: error.message }
}
