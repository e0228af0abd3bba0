/**
 * Answers `POST /v1/responses`: the same answers in OpenAI's newer shape, which streams as named
 * and numbered events.
 */
import { ForetokenError, type TokenEvent } from '../../src/index.ts'
import { ApiError } from '../errors.ts'
import type { Endpoint, Plan } from '../exchange.ts'
import { inTurns } from '../json.ts'
import { entries } from '../schemas/common.ts'
import { type ResponsesRequest, responsesRequest } from '../schemas/responses.ts'
import { collect, ReadAnswer } from './collect.ts'
import { MessageTokens } from './message-tokens.ts'
import { type BodyCall, type BodyMessage, messagesOf } from './messages.ts'
import { optionsOf } from './options.ts'
import { type ResponseItem, ResponseItems } from './response-items.ts'
import { ResponseShape } from './response-shape.ts'
import { responseFrames } from './response-stream.ts'
import { endsTurn, tokenLogprob } from './tokens.ts'
import { planOf } from './tools.ts'
import type { VisibleToken } from './visible.ts'

export const responses: Endpoint<typeof responsesRequest> = {
  form: 'response',
  schema: responsesRequest,
  entries: ({ limits }) => ({ ...entries, input: limits.messages }),
  plan(body, { engine, config, model, created }): Plan {
    const scored = body.include?.includes('message.output_text.logprobs') ?? false
    if (body.top_logprobs && !scored)
      throw new ApiError(400, 'top_logprobs needs include: ["message.output_text.logprobs"]', {
        code: 'invalid_value',
        param: 'top_logprobs',
      })
    const prompt = messagesOf(conversationOf(body))
    const given = optionsOf(body, engine, config, body.max_output_tokens)
    const plan = planOf(body, { engine, config }, { prompt, effort: body.reasoning?.effort, guide: given.guide })
    const options = {
      ...given,
      ...plan.options,
      ...(body.top_logprobs && { topLogprobs: body.top_logprobs }),
    }
    const shape = new ResponseShape(body, { model, created, temperature: options.temperature ?? config.temperature })
    const { reader, format } = plan
    const shown = plan.options.showSpecial
    const reading = { engine, isEnd: endsTurn(engine, options), shown, reader, format, corrects: options.verify }
    const logprob = scored ? (token: TokenEvent) => tokenLogprob(engine, token) : undefined
    const stream = responseFrames({
      shape,
      answer: new ReadAnswer(reading),
      logprob,
    })
    return {
      requests: [{ ...options, prompt }],
      choices: 1,
      stream: body.stream ?? false,
      progress: (body.stream && body.foretoken?.progress) ?? false,
      async body(events) {
        const [answer] = await collect(events, reading)
        if (!answer) throw new ForetokenError('internal', 'there is no answer')
        const { done, tokens, parts } = answer
        const items = new ResponseItems()
        const shown = new MessageTokens(parts)
        shown.add(tokens)
        const score = async (item: ResponseItem | undefined, scores: readonly VisibleToken[]) => {
          if (!scored || item?.type !== 'message') return
          for (const one of await inTurns(scores, ({ token }) => tokenLogprob(engine, token))) item.logprobs.push(one)
        }
        for (const part of parts.all) {
          items.add(part, parts.calls)
          await score(items.all.at(-1), shown.take(part))
        }
        if (items.all.length === 0) items.openMessage()
        await score(
          items.all.findLast(({ type }) => type === 'message'),
          shown.rest(),
        )
        return shape.finished(done, items.all, parts)
      },
      frame: stream.frame,
      failed: stream.failed,
    }
  },
}

/**
 * Returns the messages of a body. Thoughts, a message and the calls after it are one message of the
 * assistant.
 */
function conversationOf({ instructions, input }: ResponsesRequest): BodyMessage[] {
  const messages: BodyMessage[] = instructions ? [{ role: 'system', content: instructions }] : []
  if (typeof input === 'string') return [...messages, { role: 'user', content: input }]
  let reasoning: string | undefined
  for (const [index, item] of input.entries()) {
    if (!('type' in item) || item.type === undefined || item.type === 'message') {
      const { role, content } = item
      messages.push(role === 'assistant' ? { role, content, reasoning } : { role, content })
    } else if (item.type === 'function_call') addCall(messages, callIn(item, index), reasoning)
    else if (item.type === 'function_call_output') {
      const { call_id: id, output } = item
      messages.push({ role: 'tool', content: output, answers: { id, path: `input[${index}].call_id` } })
    }
    const isThought = 'type' in item && item.type === 'reasoning'
    reasoning = isThought
      ? [...(item.content ?? []), ...(item.content ? [] : (item.summary ?? []))].map(({ text }) => text).join('\n')
      : undefined
  }
  return messages
}

type Call = Extract<Exclude<ResponsesRequest['input'], string>[number], { type: 'function_call' }>

function callIn({ call_id: id, name, arguments: given }: Call, index: number): BodyCall {
  return { id, name, arguments: given, path: `input[${index}].arguments`, idPath: `input[${index}].call_id` }
}

/** Adds a call to the assistant's message before it, or to one of its own. */
function addCall(messages: BodyMessage[], call: BodyCall, reasoning: string | undefined): void {
  const last = messages.at(-1)
  if (last?.role === 'assistant' && reasoning === undefined)
    messages[messages.length - 1] = { ...last, calls: [...(last.calls ?? []), call] }
  else messages.push({ role: 'assistant', content: null, reasoning, calls: [call] })
}
