/** An endpoint that speaks OpenAI's API, asked from the page: answers as they stream. */
import type { Message } from '../src/index.ts'
import { answerPieces, textOf } from './answer-stream.ts'
import { addressOf, type EndpointSettings, keyOf } from './endpoint-settings.ts'
import { failureText, isRecord } from './failure.ts'
import { PageError } from './page-error.ts'
import type { Mode } from './protocol.ts'

export interface EndpointAnswer {
  /** Milliseconds, from here; undefined where no text came. */
  readonly ttft: number | undefined
  readonly tokens: number
  readonly tokensPerSecond: number
  /** How the prompt was read, as foretoken tells it; others don't. */
  readonly prefill: Mode | undefined
  /** The first token that was made from an exact cache, from 0. */
  readonly exactFrom: number | undefined
  readonly route: string | undefined
  /** Whether the mode that was asked for applies there; undefined where none was. */
  readonly predicts: boolean | undefined
  /** What the reader should know of the answer, in sentences. */
  readonly notes: readonly string[]
}

/** Names of the models that it has. Rejects with what to do where it is no such endpoint. */
export async function modelsOf(settings: EndpointSettings): Promise<string[]> {
  const response = await ask(settings, '/models', {})
  const text = response.body ? await textOf(response.body, mostModels) : ''
  const data = text === undefined ? undefined : modelList(text)
  if (!data) throw new PageError('page', `${response.url} lists no models; is it OpenAI's API?`)
  return data.flatMap((model) => (isRecord(model) && typeof model.id === 'string' ? [model.id] : []))
}

/** `mode` is a wish: an endpoint that does not know it reads the prompt in its own way, and the notes say so. */
export async function answerFrom(
  settings: EndpointSettings,
  messages: readonly Message[],
  mode: Mode,
  onText: (text: string) => void,
  signal: AbortSignal,
): Promise<EndpointAnswer> {
  const begun = performance.now()
  const { response, refused } = await askChat(settings, messages, mode, signal)
  const notes = new Set<string>()
  let prefill = modeOf(response.headers.get('x-foretoken-prefill'))
  let exactFrom: number | undefined
  let thought = false
  let [first, last, tokens] = [0, 0, 0]
  for await (const piece of answerPieces(response)) {
    if (piece.type === 'text') {
      last = performance.now()
      first ||= last
      tokens++
      onText(piece.text)
    }
    if (piece.type === 'thought') thought = true
    if (piece.type === 'whole') notes.add('It came in one: the endpoint does not stream.')
    if (piece.type === 'report') {
      prefill = modeOf(piece.prefill) ?? prefill
      exactFrom = piece.exactFrom
    }
    if (piece.type === 'finish') notes.add(endNote(piece.reason))
  }
  notes.delete('')
  if (tokens === 0) notes.add(thought ? 'The model thought, and gave no answer.' : 'The answer has no text.')
  const predicts = mode === 'exact' ? undefined : refused === undefined && prefill !== undefined
  if (predicts === false) notes.add(unknownMode(mode, refused))
  const seconds = (last - first) / 1000
  return {
    ttft: tokens > 0 ? first - begun : undefined,
    tokens,
    tokensPerSecond: seconds > 0 ? (tokens - 1) / seconds : 0,
    prefill,
    exactFrom,
    route: response.headers.get('x-foretoken-route')?.split(';')[0],
    predicts,
    notes: [...notes],
  }
}

const mostModels = 4 << 20
const mostReason = 65_536

/** A request that was refused with the field that only foretoken knows is sent again without it. */
async function askChat(settings: EndpointSettings, messages: readonly Message[], mode: Mode, signal: AbortSignal) {
  const { model } = settings
  const send = (more: object) =>
    ask(settings, '/chat/completions', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model, messages, stream: true, ...more }),
      signal,
    })
  if (mode === 'exact') return { response: await send({}), refused: undefined }
  try {
    return { response: await send({ foretoken: { prefill: mode } }), refused: undefined }
  } catch (error) {
    if (!(error instanceof Refused) || (error.status !== 400 && error.status !== 422)) throw error
    return { response: await send({}), refused: error.reason }
  }
}

/** A status that is no success. */
class Refused extends PageError {
  readonly status: number
  readonly reason: string

  constructor(status: number, reason: string) {
    const hint = status === 401 ? '; give a key' : status === 429 ? '; ask again in a moment' : ''
    super('page', `the endpoint answers ${status}: ${reason}${hint}`)
    this.status = status
    this.reason = reason
  }
}

async function ask(settings: EndpointSettings, path: string, init: RequestInit): Promise<Response> {
  const url = placed(settings, path)
  const key = keyOf(settings)
  const response = await fetch(url, {
    ...init,
    headers: { ...init.headers, ...(key && { authorization: `Bearer ${key}` }) },
    cache: 'no-store',
    referrerPolicy: 'no-referrer',
    // What is said goes to the address that was given, and to no other that this one may name.
    redirect: 'manual',
  }).catch((error) => {
    if (error.name === 'AbortError') throw error
    throw new PageError(
      'page',
      `${url} can't be reached from this page: is it running, and does it allow this origin (CORS)?`,
    )
  })
  if (response.type === 'opaqueredirect')
    throw new PageError('page', `${url} leads elsewhere, and nothing was sent there; give the address that it leads to`)
  const html = (response.headers.get('content-type') ?? '').startsWith('text/html')
  if (response.ok && !html) return response
  const reason = (response.body && (await textOf(response.body, mostReason).catch(() => ''))) ?? ''
  if (!response.ok && !html) throw new Refused(response.status, failureText(reason))
  throw new PageError(
    'page',
    response.ok
      ? `${url} answers a web page, not OpenAI's API: give the address that ends in /v1`
      : `${url} answers ${response.status} with a web page (${failureText(reason)}): is it OpenAI's API?`,
  )
}

function placed(settings: EndpointSettings, path: string): string {
  try {
    return addressOf(settings.address, path)
  } catch (error) {
    throw new PageError('page', (error as Error).message)
  }
}

function modelList(text: string): readonly unknown[] | undefined {
  try {
    const value: unknown = JSON.parse(text)
    const list = isRecord(value) ? value.data : value
    return Array.isArray(list) ? list : undefined
  } catch {
    return undefined
  }
}

function modeOf(text: string | null): Mode | undefined {
  return text === 'exact' || text === 'predicted' || text === 'refined' ? text : undefined
}

/** '' for an answer that ended as answers do. */
function endNote(reason: string | undefined): string {
  if (reason === 'length' || reason === 'max_tokens') return 'Cut at the endpoint’s limit of tokens.'
  if (reason === 'content_filter') return 'Ended by the endpoint’s content filter.'
  if (reason === 'tool_calls' || reason === 'function_call') return 'The model called a tool, and this page has none.'
  return ''
}

function unknownMode(mode: Mode, refused: string | undefined): string {
  const why = refused === undefined ? 'it tells nothing of it' : `it says: ${refused}`
  return `The endpoint does not know “${mode}” (${why}), and read the prompt in its own way.`
}
