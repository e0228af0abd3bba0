/** Answers `POST /api/chat` and `POST /api/generate`. */
import { type AnswerPlan, type GenerateRequest, planAnswer, type TextService } from '../../src/index.ts'
import type { Config } from '../config.ts'
import { type BodyMessage, messagesOf } from '../endpoints/messages.ts'
import { type Options, templateOptionsOf } from '../endpoints/options.ts'
import { definitionOf } from '../endpoints/tools.ts'
import { ApiError } from '../errors.ts'
import type { Contract, Endpoint, Plan } from '../exchange.ts'
import { fillInTheMiddle } from '../fill-in-the-middle.ts'
import { entries } from '../schemas/common.ts'
import { conversationOf } from './conversation.ts'
import { idleMsOf } from './keep-alive.ts'
import { answerLines, type Said, withoutText } from './lines.ts'
import { engineOptions, thinkingOf } from './options.ts'
import { type ChatRequest, chatRequest, type TextRequest, textRequest } from './schemas.ts'

/** What the routes of Ollama's API share. Its users send JSON with any content type, as curl does. */
export const common = {
  entries: ({ limits }: Config) => ({ ...entries, messages: limits.messages, images: 16 }),
  anyType: true,
  idleMs: idleMsOf,
} satisfies Partial<Contract<never>>

export const chat: Endpoint<typeof chatRequest> = {
  ...common,
  form: 'ollamaChat',
  schema: chatRequest,
  unloaded(body) {
    return body.messages?.length || idleMsOf(body) !== 0 ? undefined : emptyChat(body, 'unload')
  },
  ready(body, { loadMs }) {
    return body.messages?.length ? undefined : emptyChat(body, 'load', loadMs)
  },
  plan(body, context): Plan {
    const { engine, config } = context
    const { model, logprobs } = body
    const given = engineOptions(body, engine, config)
    const { prompted, plan } = planned(body, conversationOf(body), engine, given)
    const options = { ...given, ...prompted }
    const field = (said: Said) => ({ message: { role: 'assistant', ...said } })
    return {
      requests: [options],
      ...shape(body),
      ...answerLines({ model, logprobs: logprobs ?? false, options, plan, field }, context),
    }
  },
}

export const generate: Endpoint<typeof textRequest> = {
  ...common,
  form: 'ollamaText',
  schema: textRequest,
  unloaded(body) {
    return body.prompt || body.suffix || idleMsOf(body) !== 0 ? undefined : emptyText(body, 'unload')
  },
  ready(body, { loadMs }) {
    return body.prompt || body.suffix ? undefined : emptyText(body, 'load', loadMs)
  },
  plan(body, context): Plan {
    const { engine, config } = context
    const { model, logprobs } = body
    const given = engineOptions(body, engine, config)
    const raw = rawPromptOf(body, engine)
    const { prompted, plan } = raw === undefined ? planned(body, messageOf(body), engine, given) : rawly(raw)
    const options = { ...given, ...prompted }
    const field = ({ content: response, ...rest }: Said) => ({ response, ...rest })
    return {
      requests: [options],
      ...shape(body),
      ...answerLines({ model, logprobs: logprobs ?? false, options, plan, field }, context),
    }
  },
}

function emptyChat({ model }: ChatRequest, why: 'load' | 'unload', loadMs = 0) {
  return { ...withoutText(model, why, loadMs), message: { role: 'assistant', content: '' } }
}

function emptyText({ model }: TextRequest, why: 'load' | 'unload', loadMs = 0) {
  return { ...withoutText(model, why, loadMs), response: '' }
}

function shape({ stream, foretoken }: Pick<ChatRequest, 'stream' | 'foretoken'>) {
  return { choices: 1, stream: stream ?? true, progress: (stream !== false && foretoken?.progress) ?? false }
}

/** How a request reads its prompt, and its answer. */
interface Planned {
  readonly prompted: Pick<GenerateRequest, 'prompt' | 'raw'> & AnswerPlan['options']
  readonly plan?: AnswerPlan
}

type Asked = Pick<ChatRequest, 'think' | 'tools' | 'foretoken'>

/** Plans the answer to a conversation. The model continues a last message of the assistant, as in Ollama. */
function planned(
  body: Asked,
  messages: readonly BodyMessage[],
  engine: TextService,
  { guide }: Pick<Options, 'guide'>,
): Planned {
  const prompt = messagesOf(messages)
  const template = {
    ...thinkingOf(body, engine),
    ...templateOptionsOf({ continue_final_message: messages.at(-1)?.role === 'assistant' }),
  }
  const plan = planAnswer(engine, {
    tools: (body.tools ?? []).map(definitionOf),
    toolFormat: body.foretoken?.tool_format ?? undefined,
    guide,
    prompt,
    ...template,
  })
  return { prompted: { prompt, ...template, ...plan.options }, plan }
}

function rawly(prompt: string): Planned {
  return { prompted: { prompt, raw: true } }
}

function messageOf({ system, prompt }: TextRequest): BodyMessage[] {
  return [...(system ? [{ role: 'system', content: system } as const] : []), { role: 'user', content: prompt ?? '' }]
}

/**
 * Returns the prompt of a text that no template renders: a raw one, or one with a gap to fill;
 * undefined for any other. Throws an ApiError of 400.
 */
function rawPromptOf({ prompt, suffix, system, raw }: TextRequest, engine: TextService): string | undefined {
  if (!raw && !suffix) return undefined
  if (system)
    throw new ApiError(400, 'a raw prompt and one with a suffix have no system message; leave system out', {
      code: 'invalid_value',
      param: 'system',
    })
  return suffix ? fillInTheMiddle(prompt ?? '', suffix, engine) : (prompt ?? '')
}
