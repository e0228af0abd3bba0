/**
 * Answers `POST /v1/responses`: the same answers in OpenAI's newer shape, which streams as named
 * and numbered events.
 */
import { type ChatMessage, ForetokenError } from '../../src/index.ts'
import { ApiError } from '../errors.ts'
import type { Endpoint, Plan } from '../exchange.ts'
import { entries } from '../schemas/common.ts'
import { type ResponsesRequest, responsesRequest } from '../schemas/responses.ts'
import { collect } from './collect.ts'
import { messageOf } from './messages.ts'
import { optionsOf, templateOptionsOf } from './options.ts'
import { ResponseShape } from './response-shape.ts'
import { responseFrames } from './response-stream.ts'
import { endsTurn, tokenLogprob } from './tokens.ts'
import { VisibleTokens } from './visible.ts'

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
    const options = {
      ...optionsOf(body, engine, config, body.max_output_tokens),
      ...templateOptionsOf(body),
      ...(body.top_logprobs && { topLogprobs: body.top_logprobs }),
    }
    const shape = new ResponseShape(body, { model, created, temperature: options.temperature ?? config.temperature })
    const isEnd = endsTurn(engine, options)
    const stream = responseFrames({
      shape,
      visible: new VisibleTokens(engine, isEnd),
      logprob: scored ? (token) => tokenLogprob(engine, token) : undefined,
    })
    return {
      requests: [{ ...options, prompt: messagesOf(body) }],
      choices: 1,
      stream: body.stream ?? false,
      progress: (body.stream && body.foretoken?.progress) ?? false,
      async body(events) {
        const [answer] = await collect(events, engine, isEnd)
        if (!answer) throw new ForetokenError('internal', 'there is no answer')
        const { done, tokens } = answer
        return shape.finished(done, scored ? tokens.map(({ token }) => tokenLogprob(engine, token)) : [])
      },
      frame: stream.frame,
      failed: stream.failed,
    }
  },
}

function messagesOf({ instructions, input }: ResponsesRequest): ChatMessage[] {
  const before: ChatMessage[] = instructions ? [{ role: 'system', content: instructions }] : []
  if (typeof input === 'string') return [...before, { role: 'user', content: input }]
  return [...before, ...input.map(messageOf)]
}
