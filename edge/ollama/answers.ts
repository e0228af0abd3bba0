/** Answers `POST /api/chat` and `POST /api/generate`. */
import type { ChatMessage, GenerateRequest, TextService } from '../../src/index.ts'
import type { Config } from '../config.ts'
import { templateOptionsOf } from '../endpoints/options.ts'
import { ApiError } from '../errors.ts'
import type { Contract, Endpoint, Plan } from '../exchange.ts'
import { fillInTheMiddle } from '../fill-in-the-middle.ts'
import { entries } from '../schemas/common.ts'
import { answerLines, loaded } from './lines.ts'
import { namedModel } from './names.ts'
import { engineOptions, thinkingOf } from './options.ts'
import { type ChatRequest, chatRequest, type TextRequest, textRequest } from './schemas.ts'

/** What the routes of Ollama's API share. Its users send JSON with any content type, as curl does. */
export const common = {
  entries: ({ limits }: Config) => ({ ...entries, messages: limits.messages, images: 16 }),
  anyType: true,
  modelOf: namedModel,
} satisfies Partial<Contract<never>>

export const chat: Endpoint<typeof chatRequest> = {
  ...common,
  form: 'ollamaChat',
  schema: chatRequest,
  ready({ model, messages, keep_alive }, { loadMs }) {
    if (messages?.length) return undefined
    return { ...loaded(model, loadMs, keep_alive), message: { role: 'assistant', content: '' } }
  },
  plan(body, context): Plan {
    const options = engineOptions(body, context.engine, context.config)
    return {
      requests: [{ ...options, ...conversationOf(body) }],
      ...shape(body),
      ...answerLines(
        {
          model: body.model,
          logprobs: body.logprobs ?? false,
          options,
          field: (content) => ({ message: { role: 'assistant', content } }),
        },
        context,
      ),
    }
  },
}

export const generate: Endpoint<typeof textRequest> = {
  ...common,
  form: 'ollamaText',
  schema: textRequest,
  ready({ model, prompt, suffix, keep_alive }, { loadMs }) {
    return prompt || suffix ? undefined : { ...loaded(model, loadMs, keep_alive), response: '' }
  },
  plan(body, context): Plan {
    const options = engineOptions(body, context.engine, context.config)
    return {
      requests: [{ ...options, ...promptOf(body, context.engine) }],
      ...shape(body),
      ...answerLines(
        { model: body.model, logprobs: body.logprobs ?? false, options, field: (response) => ({ response }) },
        context,
      ),
    }
  },
}

function shape({ stream, foretoken }: Pick<ChatRequest, 'stream' | 'foretoken'>) {
  return { choices: 1, stream: stream ?? true, progress: (stream !== false && foretoken?.progress) ?? false }
}

/** The prompt of a request, and how it is read. */
type Prompted = Pick<GenerateRequest, 'prompt' | 'raw' | 'templateValues' | 'continueFinal'>

/** Returns a conversation. The model continues a last message of the assistant, as in Ollama. */
function conversationOf(body: ChatRequest): Prompted {
  const messages = (body.messages ?? []).map(
    ({ role, content, thinking }): ChatMessage => ({
      role,
      content: content ?? '',
      ...(thinking && { reasoning_content: thinking }),
    }),
  )
  const continues = messages.at(-1)?.role === 'assistant'
  return { prompt: messages, ...thinkingOf(body), ...templateOptionsOf({ continue_final_message: continues }) }
}

/** Returns the prompt of a text: raw, with a gap to fill, or one message. Throws an ApiError of 400. */
function promptOf(body: TextRequest, engine: TextService): Prompted {
  const { prompt, suffix, system, raw } = body
  if (system && (raw || suffix))
    throw new ApiError(400, 'a raw prompt and one with a suffix have no system message; leave system out', {
      code: 'invalid_value',
      param: 'system',
    })
  if (suffix) return { prompt: fillInTheMiddle(prompt ?? '', suffix, engine), raw: true }
  if (raw) return { prompt: prompt ?? '', raw: true }
  const before: ChatMessage[] = system ? [{ role: 'system', content: system }] : []
  return { prompt: [...before, { role: 'user', content: prompt ?? '' }], ...thinkingOf(body) }
}
