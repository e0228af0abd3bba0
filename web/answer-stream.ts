/**
 * What an endpoint's answer says, piece by piece, in the shapes in which servers of OpenAI's API send it: server-sent events, or one JSON where a server
 * does not stream. An answer is complete once a chunk has a finish reason or `[DONE]` came; one that only ends was broken off.
 */
import { serverEvents } from '../src/stream/sse.ts'
import { failureIn, failureText, isRecord } from './failure.ts'
import { PageError } from './page-error.ts'

export type Piece =
  /** Of the answer; `thought`: of what some models write before it. */
  | { readonly type: 'text' | 'thought'; readonly text: string }
  /** How foretoken read the prompt. */
  | { readonly type: 'report'; readonly prefill: string; readonly exactFrom: number | undefined }
  /** Why it ended, in the endpoint's word; undefined where it says only that it is done. */
  | { readonly type: 'finish'; readonly reason: string | undefined }
  /** The answer came in one, and not as it was made. */
  | { readonly type: 'whole' }

/** Ends when the answer is complete; throws a PageError where it is not, or failed. Whoever stops early cancels it. */
export async function* answerPieces(response: Response): AsyncGenerator<Piece> {
  try {
    if (!response.body) throw emptyAnswer()
    const { first, body } = await peeked(response.body)
    if (first === undefined) throw emptyAnswer()
    if (first === '{' || first === '[' || first === '<') yield* wholeAnswer(body, first === '<')
    else yield* eventPieces(body)
  } catch (error) {
    if (error instanceof PageError || (error as Error).name === 'AbortError') throw error
    throw brokenOff((error as Error).message)
  }
}

async function* wholeAnswer(body: ReadableStream<Uint8Array>, html: boolean): AsyncGenerator<Piece> {
  const text = await textOf(body, mostWhole)
  if (text === undefined) throw new PageError('page', `the endpoint answers more than ${mostWhole} bytes at once`)
  if (html) throw new PageError('page', `the endpoint answers a web page: ${failureText(text)}`)
  const value = parsed(text)
  // Some wrap what they answer in a list.
  const answer: unknown = Array.isArray(value) ? value[0] : value
  const pieces = piecesOf(answer)
  if (!isRecord(answer) || !Array.isArray(answer.choices)) throw noAnswer()
  yield { type: 'whole' }
  yield* pieces
  if (!pieces.some(({ type }) => type === 'finish')) yield { type: 'finish', reason: undefined }
}

/** The first `most` bytes of a body as text; undefined where it has more. */
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

async function* eventPieces(body: ReadableStream<Uint8Array>): AsyncGenerator<Piece> {
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
      for (const piece of piecesOf(parsed(data))) {
        finished ||= piece.type === 'finish'
        yield piece
      }
    }
  } catch (error) {
    // An answer that is complete stays so, whatever becomes of the connection.
    if (!finished || error instanceof PageError) throw error
    return
  }
  if (!finished) throw any ? brokenOff('the endpoint sent no end of it') : noAnswer()
}

/** What one JSON tells: a chunk of a stream, or a whole answer. Throws what it tells of a failure. */
function piecesOf(value: unknown): Piece[] {
  const failure = failureIn(value)
  if (failure !== undefined) throw failed(failure)
  if (!isRecord(value)) return []
  const { choices, foretoken } = value
  const pieces: Piece[] = []
  if (isRecord(foretoken) && typeof foretoken.prefill === 'string') {
    const from = foretoken.exact_from
    pieces.push({ type: 'report', prefill: foretoken.prefill, exactFrom: typeof from === 'number' ? from : undefined })
  }
  const choice = Array.isArray(choices) ? choices.filter(isRecord).find(({ index }) => (index ?? 0) === 0) : undefined
  if (!choice) return pieces
  const told = [choice.delta, choice.message].find(isRecord) ?? {}
  const thought = stringOf(told.reasoning_content) || stringOf(told.reasoning)
  if (thought) pieces.push({ type: 'thought', text: thought })
  const text = stringOf(told.content) || stringOf(choice.text) || stringOf(told.refusal)
  if (text) pieces.push({ type: 'text', text })
  const { finish_reason: reason } = choice
  if (reason === 'error') throw failed(failureIn(choice) ?? 'it gives no reason')
  if (typeof reason === 'string' && reason !== '') pieces.push({ type: 'finish', reason })
  return pieces
}

/** Content is a text, or parts of which some are. */
function stringOf(content: unknown): string {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return ''
  return content.map((part) => (isRecord(part) && typeof part.text === 'string' ? part.text : '')).join('')
}

function parsed(data: string): unknown {
  try {
    return JSON.parse(data)
  } catch {
    throw new PageError('page', `the endpoint sends what is not JSON: ${failureText(data)}`)
  }
}

/** The first character that is not white space, undefined where there is none, and the body from its beginning. */
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
  return new PageError('page', 'the endpoint answers 200 with what is no answer of OpenAI’s API; is the address right?')
}

function emptyAnswer(): PageError {
  return new PageError('page', 'the endpoint answers nothing: the body is empty')
}
