/** Answers `POST /v1/chat/completions`. */
import type { AnswerPart, DoneEvent } from '../../src/index.ts'
import type { ChoiceEvent } from '../choices.ts'
import { ApiError } from '../errors.ts'
import type { Endpoint, Plan } from '../exchange.ts'
import { newId } from '../ids.ts'
import { inTurns } from '../json.ts'
import { type ChatRequest, chatRequest } from '../schemas/chat.ts'
import { entries } from '../schemas/common.ts'
import { done as end, frame } from '../sse.ts'
import { reportOf, usageOf } from '../usage.ts'
import { type Answered, collect, ReadAnswer, type Reading } from './collect.ts'
import { type BodyMessage, marksChunks, messagesOf } from './messages.ts'
import { optionsOf } from './options.ts'
import type { AnsweredCall, AnswerParts } from './parts.ts'
import { endsTurn, tokenLogprob } from './tokens.ts'
import { planOf } from './tools.ts'
import type { VisibleToken } from './visible.ts'

export const chat: Endpoint<typeof chatRequest> = {
  form: 'chat',
  schema: chatRequest,
  entries: ({ limits }) => ({ ...entries, messages: limits.messages }),
  plan(body, { engine, config, model, created }): Plan {
    const choices = body.n ?? 1
    const id = newId('chatcmpl')
    const head = { id, created, model }
    const prompt = messagesOf(body.messages.map(bodyMessage))
    const given = optionsOf(body, engine, config, body.max_completion_tokens ?? body.max_tokens, marksChunks(prompt))
    const plan = planOf(body, { engine, config }, { prompt, effort: body.reasoning_effort, guide: given.guide })
    const options = {
      ...given,
      ...plan.options,
      ...(topLogprobs(body) > 0 && { topLogprobs: topLogprobs(body) }),
    }
    const { reader, format } = plan
    const shown = plan.options.showSpecial
    const reading = { engine, isEnd: endsTurn(engine, options), shown, reader, format, corrects: options.verify }
    return {
      requests: [{ ...options, prompt }],
      choices,
      stream: body.stream ?? false,
      progress: (body.stream && body.foretoken?.progress) ?? false,
      async body(events) {
        const answers = await collect(events, reading)
        const list: object[] = []
        for (const [index, { done, tokens, parts }] of answers.entries()) {
          const content = body.logprobs && (await inTurns(tokens, ({ token }) => tokenLogprob(engine, token)))
          const logprobs = content ? { content, refusal: null } : null
          list.push({ index, message: messageOf(parts), logprobs, finish_reason: parts.finishReason(done) })
        }
        return {
          ...head,
          object: 'chat.completion',
          choices: list,
          usage: usage(answers, choices),
        }
      },
      frame: framesOf(body, { ...head, object: 'chat.completion.chunk' }, reading),
      failed: (error) => frame(error.body),
    }
  },
}

/** Returns what writes the chunks of a stream: a function that is called with each event. */
function framesOf(body: ChatRequest, base: object, reading: Reading): Plan['frame'] {
  const { engine } = reading
  const withUsage = body.stream_options?.include_usage ?? false
  const noUsage = withUsage ? { usage: null } : {}
  const choices = body.n ?? 1
  const answers: ReadAnswer[] = []
  const finished: Pick<Answered, 'done' | 'parts'>[] = []
  let complete = 0
  const chunk = (index: number, delta: object, more: object = {}) =>
    frame({ ...base, choices: [{ index, delta, logprobs: null, finish_reason: null, ...more }], ...noUsage })
  const scored = (tokens: readonly VisibleToken[]) =>
    body.logprobs && tokens.length > 0
      ? { logprobs: { content: tokens.map(({ token }) => tokenLogprob(engine, token)), refusal: null } }
      : {}
  const correct = (index: number, done: DoneEvent, answer: ReadAnswer) => {
    const corrected = answer.corrected(done)
    if (!corrected) return ''
    const { parts, tokens } = answer
    const correction = { index, ...corrected, message: messageOf(parts), ...(body.logprobs && scored(tokens)) }
    return frame({ ...base, choices: [], ...noUsage, foretoken: { correction } })
  }
  const finish = (index: number, done: DoneEvent, answer: ReadAnswer) => {
    const { parts } = answer
    finished[index] = { done, parts }
    const last = { index, delta: {}, logprobs: null, finish_reason: parts.finishReason(done) }
    const closing = frame({ ...base, choices: [last], ...noUsage, foretoken: reportOf(done) })
    const text = correct(index, done, answer) + closing
    if (++complete < choices) return text
    return text + (withUsage ? frame({ ...base, choices: [], usage: usage(finished, choices) }) : '') + end
  }
  return (event: ChoiceEvent) => {
    const { index } = event
    if (event.type === 'progress') {
      const progress = { index, done: event.done, total: event.total }
      return frame({ ...base, choices: [], ...noUsage, foretoken: { progress } })
    }
    const role = answers[index] ? '' : chunk(index, { role: 'assistant', content: '', refusal: null })
    const answer = (answers[index] ??= new ReadAnswer(reading))
    const { parts: news, tokens } = answer.push(event)
    // What a client was shown can't be called back: the correction comes whole, at the end.
    if (answer.correction) return event.type === 'done' ? finish(index, event.done, answer) : ''
    const deltas = news.flatMap((part) => deltaOf(part, answer.parts.calls))
    if (deltas.length === 0 && body.logprobs && tokens.length > 0) deltas.push({ content: '' })
    // The log-probabilities of a token come with the first part that shows it.
    const text = role + deltas.map((delta, at) => chunk(index, delta, at === 0 ? scored(tokens) : {})).join('')
    return event.type === 'done' ? text + finish(index, event.done, answer) : text
  }
}

/** Returns a part as a delta; none for the end of a call, which shows by what follows. */
function deltaOf(part: AnswerPart, calls: readonly AnsweredCall[]): object[] {
  switch (part.type) {
    case 'content':
      return [{ content: part.text }]
    case 'reasoning':
      return [{ reasoning_content: part.text }]
    case 'call': {
      const { index, name } = part
      return [{ tool_calls: [{ index, id: calls[index]?.id, type: 'function', function: { name, arguments: '' } }] }]
    }
    case 'arguments':
      return [{ tool_calls: [{ index: part.index, function: { arguments: part.text } }] }]
    case 'end':
      return []
  }
}

/** Returns the message of an answer. Its content is null if it only calls tools. */
export function messageOf({ content, reasoning, calls }: AnswerParts) {
  return {
    role: 'assistant',
    content: content === '' && calls.length > 0 ? null : content,
    refusal: null,
    ...(reasoning !== '' && { reasoning_content: reasoning }),
    ...(calls.length > 0 && {
      tool_calls: calls.map(({ id, name, arguments: text }) => ({
        id,
        type: 'function',
        function: { name, arguments: text },
      })),
    }),
  }
}

function usage(answers: readonly Pick<Answered, 'done' | 'parts'>[], choices: number) {
  const dones = answers.map(({ done }) => done)
  const thoughts = answers.reduce((sum, { parts }) => sum + parts.reasoningTokens, 0)
  return {
    ...usageOf(dones, choices),
    ...(thoughts > 0 && { completion_tokens_details: { reasoning_tokens: thoughts } }),
  }
}

/** Returns a message of a body as all APIs have it. */
export function bodyMessage(message: ChatRequest['messages'][number], index: number): BodyMessage {
  const { role, name } = message
  const content = contentOf(message.content)
  if (role === 'tool')
    return { role, content, name, answers: { id: message.tool_call_id, path: `messages[${index}].tool_call_id` } }
  if (role !== 'assistant') return { role, content, name }
  const calls = (message.tool_calls ?? []).map(({ id, function: { name, arguments: given } }, at) => ({
    id,
    name,
    arguments: given,
    path: `messages[${index}].tool_calls[${at}].function.arguments`,
    idPath: `messages[${index}].tool_calls[${at}].id`,
  }))
  return { role, content, name, reasoning: message.reasoning_content, calls }
}

function contentOf(content: ChatRequest['messages'][number]['content']): BodyMessage['content'] {
  if (typeof content !== 'object' || !content) return content
  return content.map(({ text, foretoken }) => ({ text, chunk: foretoken?.chunks ?? false }))
}

function topLogprobs({ logprobs, top_logprobs }: ChatRequest): number {
  if (top_logprobs && !logprobs)
    throw new ApiError(400, 'top_logprobs needs logprobs: true', { code: 'invalid_value', param: 'top_logprobs' })
  return top_logprobs ?? 0
}
