/**
 * Reads an endpoint's answer in the forms that OpenAI-compatible servers send: server-sent events,
 * or one JSON value if a server does not stream. An answer is complete once a chunk has a finish
 * reason or `[DONE]` arrived; an answer that merely ends was broken off.
 */
import { serverEvents } from '../src/stream/sse.ts'
import { failureIn, failureText, isRecord } from './failure.ts'
import { PageError } from './page-error.ts'

export type AnswerPart =
  /** Text of the answer, or of the reasoning that some models write before it. */
  | { readonly type: 'text' | 'thought'; readonly text: string }
  /** A part of a call of a tool: its name comes once, its arguments in pieces of JSON text. */
  | { readonly type: 'call'; readonly index: number; readonly name: string; readonly arguments: string }
  /** How a foretoken server read the prompt. */
  | { readonly type: 'report'; readonly prefill: string; readonly exactFrom: number | undefined }
  /** The whole text of an answer that was corrected after it had been shown; its calls follow. */
  | { readonly type: 'correction'; readonly text: string }
  /** The endpoint's finish reason; undefined if the stream ended with `[DONE]` alone. */
  | { readonly type: 'finish'; readonly reason: string | undefined }
  /** The answer arrived as one JSON value instead of a stream. */
  | { readonly type: 'whole' }

/**
 * Yields the parts of an answer and ends when it is complete. Rejects with a PageError if the
 * answer is incomplete or failed. Returning early cancels the request.
 */
export async function* answerParts(response: Response): AsyncGenerator<AnswerPart> {
  try {
    if (!response.body) throw emptyAnswer()
    const { first, body } = await peeked(response.body)
    if (first === undefined) throw emptyAnswer()
    if (first === '{' || first === '[' || first === '<') yield* wholeAnswer(body, first === '<')
    else yield* eventParts(body)
  } catch (error) {
    if (error instanceof PageError || (error as Error).name === 'AbortError') throw error
    throw brokenOff((error as Error).message)
  }
}

async function* wholeAnswer(body: ReadableStream<Uint8Array>, html: boolean): AsyncGenerator<AnswerPart> {
  const text = await textOf(body, mostWhole)
  if (text === undefined) throw new PageError('page', `the endpoint's answer has more than ${mostWhole} bytes`)
  if (html) throw new PageError('page', `the endpoint answered with a web page: ${failureText(text)}`)
  const value = parsed(text)
  // Some servers wrap the answer in a list.
  const answer: unknown = Array.isArray(value) ? value[0] : value
  const parts = partsOf(answer)
  if (!isRecord(answer) || !Array.isArray(answer.choices)) throw noAnswer()
  yield { type: 'whole' }
  yield* parts
  if (!parts.some(({ type }) => type === 'finish')) yield { type: 'finish', reason: undefined }
}

/** Reads a body as text; returns undefined if it has more than `most` bytes. */
export async function textOf(body: ReadableStream<Uint8Array>, most: number): Promise<string | undefined> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  const pieces: string[] = []
  try {
    for (let bytes = 0; ; ) {
      const { done, value } = await reader.read()
      if (done) return pieces.join('') + decoder.decode()
      bytes += value.length
      if (bytes > most) return undefined
      pieces.push(decoder.decode(value, { stream: true }))
    }
  } finally {
    reader.cancel().catch(() => {})
  }
}

const mostWhole = 16 << 20

async function* eventParts(body: ReadableStream<Uint8Array>): AsyncGenerator<AnswerPart> {
  let finished = false
  let any = false
  try {
    for await (const { event, data } of serverEvents(body)) {
      if (data.trim() === '[DONE]') {
        if (!finished) yield { type: 'finish', reason: undefined }
        return
      }
      any = true
      if (event === 'error') throw failed(failureText(data))
      for (const part of partsOf(parsed(data))) {
        finished ||= part.type === 'finish'
        yield part
      }
    }
  } catch (error) {
    // A complete answer stays complete, even if the connection fails afterwards.
    if (!finished || error instanceof PageError) throw error
    return
  }
  if (!finished) throw any ? brokenOff('the stream ended without a finish reason') : noAnswer()
}

/**
 * Returns the parts in one JSON value: a chunk of a stream, or a whole answer. Throws the failure
 * that it reports.
 */
function partsOf(value: unknown): AnswerPart[] {
  const failure = failureIn(value)
  if (failure !== undefined) throw failed(failure)
  if (!isRecord(value)) return []
  const { choices, foretoken } = value
  const parts: AnswerPart[] = []
  if (isRecord(foretoken) && typeof foretoken.prefill === 'string') {
    const from = foretoken.exact_from
    parts.push({ type: 'report', prefill: foretoken.prefill, exactFrom: typeof from === 'number' ? from : undefined })
  }
  const correction = isRecord(foretoken) ? foretoken.correction : undefined
  if (isRecord(correction) && isRecord(correction.message)) {
    const { content, tool_calls: calls } = correction.message
    parts.push({ type: 'correction', text: stringOf(content) })
    if (Array.isArray(calls)) for (const part of callParts(calls)) parts.push(part)
  }
  const choice = Array.isArray(choices) ? choices.filter(isRecord).find(({ index }) => (index ?? 0) === 0) : undefined
  if (!choice) return parts
  const message = [choice.delta, choice.message].find(isRecord) ?? {}
  const thought = stringOf(message.reasoning_content) || stringOf(message.reasoning)
  if (thought) parts.push({ type: 'thought', text: thought })
  const text = stringOf(message.content) || stringOf(choice.text) || stringOf(message.refusal)
  if (text) parts.push({ type: 'text', text })
  if (Array.isArray(message.tool_calls)) for (const part of callParts(message.tool_calls)) parts.push(part)
  const { finish_reason: reason } = choice
  if (reason === 'error') throw failed(failureIn(choice) ?? 'it gives no reason')
  if (typeof reason === 'string' && reason !== '') parts.push({ type: 'finish', reason })
  return parts
}

/** Returns the calls in a chunk, or in a whole answer, whose calls have no index. */
function callParts(calls: readonly unknown[]): AnswerPart[] {
  return calls.slice(0, mostCalls).flatMap((call, at): AnswerPart[] => {
    if (!isRecord(call) || !isRecord(call.function)) return []
    const { index = at } = call
    if (typeof index !== 'number' || !Number.isInteger(index) || index < 0 || index >= mostCalls) return []
    const { name, arguments: text } = call.function
    // Some servers send the arguments as a value.
    const written = typeof text === 'string' ? text : isRecord(text) ? JSON.stringify(text) : ''
    return [{ type: 'call', index, name: stringOf(name), arguments: written }]
  })
}

/** Most calls of an answer to read. */
const mostCalls = 64

/** Returns the text of a content, which is a string or a list of parts. */
function stringOf(content: unknown): string {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return ''
  return content.map((part) => (isRecord(part) && typeof part.text === 'string' ? part.text : '')).join('')
}

function parsed(data: string): unknown {
  try {
    return JSON.parse(data)
  } catch {
    throw new PageError('page', `the endpoint sent something that is not JSON: ${failureText(data)}`)
  }
}

/**
 * Returns the first character that is not white space, undefined if there is none, and the body
 * from its beginning.
 */
async function peeked(body: ReadableStream<Uint8Array>) {
  const reader = body.getReader()
  const held: Uint8Array[] = []
  let first: string | undefined = ''
  for (let bytes = 0; first === '' && bytes < mostPeeked; ) {
    const { done, value } = await reader.read()
    if (!done) held.push(value)
    bytes += value?.length ?? 0
    first = done ? undefined : new TextDecoder().decode(value).trim().slice(0, 1)
  }
  const again = new ReadableStream<Uint8Array>({
    async pull(out) {
      const early = held.shift()
      if (early) return out.enqueue(early)
      const { done, value } = await reader.read()
      if (done) out.close()
      else out.enqueue(value)
    },
    cancel: (reason) => reader.cancel(reason),
  })
  return { first, body: again }
}

const mostPeeked = 65_536

function failed(why: string): PageError {
  return new PageError('page', `the endpoint failed: ${why}`)
}

function brokenOff(why: string): PageError {
  return new PageError('page', `the answer broke off: ${why}`)
}

function noAnswer(): PageError {
  return new PageError(
    'page',
    'the endpoint answered 200, but not in the format of OpenAI’s API; is the address right?',
  )
}

function emptyAnswer(): PageError {
  return new PageError('page', 'the endpoint’s answer is empty')
}
