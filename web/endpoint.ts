/** An endpoint that speaks OpenAI's API, asked from the page: answers as they stream. */
import type { Message } from '../src/index.ts'
import { PageError } from './engine.ts'

export interface EndpointAnswer {
  /** Milliseconds, from here. */
  readonly ttft: number
  readonly tokens: number
  readonly tokensPerSecond: number
  /** As the endpoint tells it; foretoken's do. */
  readonly prefill: string | undefined
  readonly route: string | undefined
}

export interface EndpointOptions {
  /** Such as `https://host/v1`. */
  readonly url: string
  readonly key: string
  readonly model: string
  /** foretoken's own field; others are not sent it. */
  readonly prefill: string | undefined
}

/** Names of the models that it has. Rejects with what to do where it is no such endpoint. */
export async function modelsOf({ url, key }: Pick<EndpointOptions, 'url' | 'key'>): Promise<string[]> {
  const response = await ask(`${url}/models`, { headers: headersOf(key) })
  const { data } = await json(response)
  if (!Array.isArray(data)) throw new PageError('page', `${url}/models lists no models; is it OpenAI's API?`)
  return data.flatMap(({ id }) => (typeof id === 'string' ? [id] : []))
}

export async function answerFrom(
  { url, key, model, prefill }: EndpointOptions,
  messages: readonly Message[],
  onText: (text: string) => void,
  signal: AbortSignal,
): Promise<EndpointAnswer> {
  const begun = performance.now()
  const response = await ask(`${url}/chat/completions`, {
    method: 'POST',
    headers: { ...headersOf(key), 'content-type': 'application/json' },
    body: JSON.stringify({ model, messages, stream: true, ...(prefill && { prefill }) }),
    signal,
  })
  const [told, route] = [response.headers.get('x-foretoken-prefill'), response.headers.get('x-foretoken-route')]
  let [first, last, tokens] = [0, 0, 0]
  for await (const data of events(response)) {
    const { choices, error } = JSON.parse(data)
    if (error) throw new PageError('page', String(error.message ?? 'the endpoint failed'))
    const text = choices?.[0]?.delta?.content
    if (typeof text !== 'string' || text === '') continue
    last = performance.now()
    first ||= last
    tokens++
    onText(text)
  }
  const seconds = (last - first) / 1000
  return {
    ttft: (first || performance.now()) - begun,
    tokens,
    tokensPerSecond: seconds > 0 ? (tokens - 1) / seconds : 0,
    prefill: told ?? undefined,
    route: route?.split(';')[0],
  }
}

async function ask(url: string, init: RequestInit): Promise<Response> {
  const response = await fetch(url, init).catch((error) => {
    if (error.name === 'AbortError') throw error
    throw new PageError(
      'page',
      `${url} can't be reached from this page: is it running, and does it allow this origin (CORS)?`,
    )
  })
  if (response.ok && !isHtml(response)) return response
  throw new PageError('page', isHtml(response) ? htmlMessage(url) : await failure(response))
}

function isHtml(response: Response): boolean {
  return (response.headers.get('content-type') ?? '').startsWith('text/html')
}

function htmlMessage(url: string): string {
  return `${url} answers a web page, not OpenAI's API: give the address that ends in /v1`
}

async function failure(response: Response): Promise<string> {
  const text = await response.text().catch(() => '')
  let message = text.slice(0, 200)
  try {
    message = JSON.parse(text).error.message
  } catch {
    // Not in OpenAI's shape: as it is.
  }
  const hint = response.status === 401 ? ' Give a key.' : ''
  return `the endpoint answers ${response.status}: ${message}${hint}`
}

async function json(response: Response): Promise<{ readonly data?: unknown }> {
  return response.json().catch(() => {
    throw new PageError('page', `${response.url} answers no JSON; is it OpenAI's API?`)
  })
}

/** The data of server-sent events, until `[DONE]`. */
async function* events(response: Response): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let held = ''
  for await (const bytes of response.body as unknown as AsyncIterable<Uint8Array>) {
    const lines = (held + decoder.decode(bytes, { stream: true })).split(/\r?\n/)
    held = lines.pop()!
    for (const line of lines) {
      if (!line.startsWith('data:')) continue
      const data = line.slice(5).trim()
      if (data === '[DONE]') return
      yield data
    }
  }
}

function headersOf(key: string): Record<string, string> {
  return key ? { authorization: `Bearer ${key}` } : {}
}
