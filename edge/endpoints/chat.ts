/** Answers `POST /v1/chat/completions`. */
import type { DoneEvent } from '../../src/index.ts'
import type { ChoiceEvent } from '../choices.ts'
import { ApiError } from '../errors.ts'
import type { Endpoint, Plan, PlanContext } from '../exchange.ts'
import { newId } from '../ids.ts'
import { type ChatRequest, chatRequest } from '../schemas/chat.ts'
import { entries } from '../schemas/common.ts'
import { frame, done as last } from '../sse.ts'
import { reportOf, usageOf } from '../usage.ts'
import { collect, finishReason } from './collect.ts'
import { messageOf } from './messages.ts'
import { optionsOf, templateOptionsOf } from './options.ts'
import { endsTurn, tokenLogprob } from './tokens.ts'
import { type VisibleToken, VisibleTokens } from './visible.ts'

export const chat: Endpoint<typeof chatRequest> = {
  form: 'chat',
  schema: chatRequest,
  entries: ({ limits }) => ({ ...entries, messages: limits.messages }),
  plan(body, { engine, config, model, created }): Plan {
    const choices = body.n ?? 1
    const id = newId('chatcmpl')
    const head = { id, created, model }
    const options = {
      ...optionsOf(body, engine, config, body.max_completion_tokens ?? body.max_tokens),
      ...templateOptionsOf(body),
      ...(topLogprobs(body) > 0 && { topLogprobs: topLogprobs(body) }),
    }
    const isEnd = endsTurn(engine, options)
    return {
      requests: [{ ...options, prompt: body.messages.map(messageOf) }],
      choices,
      stream: body.stream ?? false,
      progress: (body.stream && body.foretoken?.progress) ?? false,
      async body(events) {
        const answers = await collect(events, engine, isEnd)
        return {
          ...head,
          object: 'chat.completion',
          choices: answers.map(({ done, tokens }, index) => ({
            index,
            message: { role: 'assistant', content: done.text, refusal: null },
            logprobs: body.logprobs
              ? { content: tokens.map(({ token }) => tokenLogprob(engine, token)), refusal: null }
              : null,
            finish_reason: finishReason(done),
          })),
          usage: usageOf(
            answers.map(({ done }) => done),
            choices,
          ),
        }
      },
      frame: framesOf(body, { ...head, object: 'chat.completion.chunk' }, engine, isEnd),
      failed: (error) => frame(error.body),
    }
  },
}

/** Returns what writes the chunks of a stream: a function that is called with each event. */
function framesOf(
  body: ChatRequest,
  base: object,
  engine: PlanContext['engine'],
  isEnd: (id: number) => boolean,
): Plan['frame'] {
  const usage = body.stream_options?.include_usage ?? false
  const noUsage = usage ? { usage: null } : {}
  const choices = body.n ?? 1
  const answers: VisibleTokens[] = []
  const dones: DoneEvent[] = []
  let complete = 0
  const chunk = (index: number, delta: object, more: object = {}) =>
    frame({ ...base, choices: [{ index, delta, logprobs: null, finish_reason: null, ...more }], ...noUsage })
  const scored = (tokens: readonly VisibleToken[]) =>
    body.logprobs && tokens.length > 0
      ? { logprobs: { content: tokens.map(({ token }) => tokenLogprob(engine, token)), refusal: null } }
      : {}
  const finish = (index: number, done: DoneEvent) => {
    dones[index] = done
    const finished = { index, delta: {}, logprobs: null, finish_reason: finishReason(done) }
    const text = frame({ ...base, choices: [finished], ...noUsage, foretoken: reportOf(done) })
    if (++complete < choices) return text
    return text + (usage ? frame({ ...base, choices: [], usage: usageOf(dones, choices) }) : '') + last
  }
  return (event: ChoiceEvent) => {
    const { index } = event
    if (event.type === 'progress') {
      const progress = { index, done: event.done, total: event.total }
      return frame({ ...base, choices: [], ...noUsage, foretoken: { progress } })
    }
    const role = answers[index] ? '' : chunk(index, { role: 'assistant', content: '', refusal: null })
    const visible = (answers[index] ??= new VisibleTokens(engine, isEnd))
    const content = event.type === 'token' ? event.token.text : ''
    const tokens = event.type === 'token' ? visible.push(event.token) : visible.finish()
    const shows = content !== '' || (body.logprobs && tokens.length > 0)
    const text = role + (shows ? chunk(index, { content }, scored(tokens)) : '')
    return event.type === 'done' ? text + finish(index, event.done) : text
  }
}

function topLogprobs({ logprobs, top_logprobs }: ChatRequest): number {
  if (top_logprobs && !logprobs)
    throw new ApiError(400, 'top_logprobs needs logprobs: true', { code: 'invalid_value', param: 'top_logprobs' })
  return top_logprobs ?? 0
}
