/** Client of an OpenAI-compatible endpoint; answers are streamed. */
import { answerParts, textOf } from './answer-stream.ts'
import { addressOf, type EndpointSettings, keyOf } from './endpoint-settings.ts'
import type { AnswerEvents } from './engine.ts'
import { failureText, isRecord } from './failure.ts'
import { PageError } from './page-error.ts'
import type { Mode, Question } from './protocol.ts'

export interface EndpointAnswer {
  /** Time to first token as seen from here, in milliseconds; undefined if no text arrived. */
  readonly ttft: number | undefined
  /** Whether the answer reached the endpoint's limit, so that a call in it may not be complete. */
  readonly cut: boolean
  readonly tokens: number
  readonly tokensPerSecond: number
  /** Prefill mode, as reported by a foretoken server; undefined for others. */
  readonly prefill: Mode | undefined
  /** Index of the first token generated from an exact cache, from 0. */
  readonly exactFrom: number | undefined
  readonly route: string | undefined
  /** Whether the endpoint supports the requested mode; undefined if none was requested. */
  readonly predicts: boolean | undefined
  /** Remarks about the answer for the reader, as sentences. */
  readonly notes: readonly string[]
}

/** Returns the names of the endpoint's models. Rejects with a PageError that says what to do. */
export async function modelsOf(settings: EndpointSettings): Promise<string[]> {
  const response = await ask(settings, '/models', {})
  const text = response.body ? await textOf(response.body, mostModels) : ''
  const data = text === undefined ? undefined : modelList(text)
  if (!data) throw new PageError('page', `${response.url} does not list models; is it OpenAI's API?`)
  return data.flatMap((model) => (isRecord(model) && typeof model.id === 'string' ? [model.id] : []))
}

/**
 * Asks an endpoint for an answer. An endpoint that does not support the mode reads the prompt its
 * own way, and the notes say so.
 */
export async function answerFrom(
  settings: EndpointSettings,
  question: Question,
  events: AnswerEvents,
  signal: AbortSignal,
): Promise<EndpointAnswer> {
  const begun = performance.now()
  const { mode, tools } = question
  const { response, refused } = await askChat(settings, question, signal)
  const notes = new Set<string>()
  let prefill = modeOf(response.headers.get('x-foretoken-prefill'))
  let exactFrom: number | undefined
  let thought = false
  let cut = false
  const calls = new Set<number>()
  let [first, last, tokens] = [0, 0, 0]
  const came = () => {
    last = performance.now()
    first ||= last
    tokens++
  }
  for await (const part of answerParts(response)) {
    if (part.type === 'text') {
      came()
      events.onText(part.text, true)
    }
    if (part.type === 'call') {
      came()
      if (!calls.has(part.index)) events.onCall(part.index, part.name)
      calls.add(part.index)
      if (part.arguments !== '') events.onArguments(part.index, part.arguments)
    }
    if (part.type === 'correction') {
      calls.clear()
      events.onCorrection(part.text)
    }
    if (part.type === 'thought') thought = true
    if (part.type === 'whole') notes.add('The answer arrived in one piece: the endpoint does not stream.')
    if (part.type === 'report') {
      prefill = modeOf(part.prefill) ?? prefill
      exactFrom = part.exactFrom
    }
    if (part.type !== 'finish') continue
    cut = part.reason === 'length' || part.reason === 'max_tokens'
    notes.add(endNote(part.reason, tools !== undefined))
  }
  notes.delete('')
  if (tokens === 0) notes.add(thought ? 'The model reasoned but gave no answer.' : 'The answer has no text.')
  const predicts = mode === 'exact' ? undefined : refused === undefined && prefill !== undefined
  if (predicts === false) notes.add(unknownMode(mode, refused))
  const seconds = (last - first) / 1000
  return {
    ttft: tokens > 0 ? first - begun : undefined,
    cut,
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

/**
 * Asks for a chat completion. If the request is refused with the field that only foretoken knows,
 * it is sent again without it.
 */
async function askChat(settings: EndpointSettings, question: Question, signal: AbortSignal) {
  const { model } = settings
  const { mode } = question
  const send = (more: object) =>
    ask(settings, '/chat/completions', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model, stream: true, ...chatBody(question), ...more }),
      signal,
    })
  if (mode === 'exact') return { response: await send({}), refused: undefined }
  try {
    const foretoken = { prefill: mode, ...(mode === 'refined' && { verify: true }) }
    return { response: await send({ foretoken }), refused: undefined }
  } catch (error) {
    if (!(error instanceof Refused) || (error.status !== 400 && error.status !== 422)) throw error
    return { response: await send({}), refused: error.reason }
  }
}

/** Returns the fields of a question in OpenAI's API. Throws for a schema that is not JSON. */
function chatBody({ messages, schema, tools, choice }: Question): object {
  return {
    messages: messages.map(({ tool_calls, ...message }) => ({
      ...message,
      ...(tool_calls && {
        tool_calls: tool_calls.map(({ id, function: { name, arguments: values } }) => ({
          id,
          type: 'function',
          function: { name, arguments: JSON.stringify(values) },
        })),
      }),
    })),
    ...(schema !== undefined && {
      response_format: {
        type: 'json_schema',
        json_schema: { name: 'answer', strict: true, schema: JSON.parse(schema) },
      },
    }),
    ...(tools && { tools: tools.map((tool) => ({ type: 'function', function: tool })), tool_choice: choice ?? 'auto' }),
  }
}

/** A response whose status is not a success. */
class Refused extends PageError {
  readonly status: number
  readonly reason: string

  constructor(status: number, reason: string) {
    const hint = status === 401 ? '; enter a key' : status === 429 ? '; try again in a moment' : ''
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
    // Messages go to the entered address only, never to one that it redirects to.
    redirect: 'manual',
  }).catch((error) => {
    if (error.name === 'AbortError') throw error
    throw new PageError(
      'page',
      `${url} can't be reached from this page: is it running, and does it allow this origin (CORS)?`,
    )
  })
  if (response.type === 'opaqueredirect')
    throw new PageError(
      'page',
      `${url} redirects elsewhere, and nothing was sent there; enter the address that it redirects to`,
    )
  const html = (response.headers.get('content-type') ?? '').startsWith('text/html')
  if (response.ok && !html) return response
  const reason = (response.body && (await textOf(response.body, mostReason).catch(() => ''))) ?? ''
  if (!response.ok && !html) throw new Refused(response.status, failureText(reason))
  throw new PageError(
    'page',
    response.ok
      ? `${url} answers with a web page, not OpenAI's API; enter the address that ends in /v1`
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

/** Returns a remark on why an answer ended; '' if it ended normally. */
function endNote(reason: string | undefined, hasTools: boolean): string {
  if (reason === 'length' || reason === 'max_tokens') return 'Cut off at the endpoint’s token limit.'
  if (reason === 'content_filter') return 'Stopped by the endpoint’s content filter.'
  if (!hasTools && (reason === 'tool_calls' || reason === 'function_call'))
    return 'The model called a tool, but was given none.'
  return ''
}

function unknownMode(mode: Mode, refused: string | undefined): string {
  const why = refused === undefined ? 'it does not report it' : `it says: ${refused}`
  return `The endpoint does not support “${mode}” (${why}) and read the prompt its own way.`
}
