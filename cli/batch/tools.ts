/**
 * Tools of a batch's chats, as the server has them: the fields of a body, the plan of an answer, and
 * the message that it becomes.
 */
import { bodyMessage, messageOf } from '../../edge/endpoints/chat.ts'
import { marksChunks, messagesOf } from '../../edge/endpoints/messages.ts'
import { AnswerParts } from '../../edge/endpoints/parts.ts'
import { planOf } from '../../edge/endpoints/tools.ts'
import { type ChatRequest, chatRequest } from '../../edge/schemas/chat.ts'
import type { ChatMessage, DoneEvent, Engine, GenerateRequest } from '../../node/index.ts'

const { messages, tools, tool_choice, parallel_tool_calls } = chatRequest.shape

/** The fields of a body, with the checks of the server. */
export const toolFields = { messages, tools, tool_choice, parallel_tool_calls }

/** Fields that ask for calls of tools. */
export type ToolWishes = Pick<ChatRequest, 'tools' | 'tool_choice' | 'parallel_tool_calls'> & {
  readonly foretoken?: { readonly tool_format?: NonNullable<ChatRequest['foretoken']>['tool_format'] } | undefined
}

/** What plans of answers need of an engine. */
export type PlanningEngine = Pick<Engine, 'tokenizer' | 'archive' | 'guides'>

/**
 * The messages of a body, with calls and their results. Parts of a text are joined unless one is
 * marked as a chunk. Throws an ApiError
 * for a result without its call, and for arguments that are no JSON object.
 */
export function chatMessages(given: ChatRequest['messages']): ChatMessage[] {
  return messagesOf(given.map(bodyMessage)).map((message) => {
    const { content } = message
    return Array.isArray(content) && !marksChunks([message])
      ? { ...message, content: content.map(({ text }) => text).join('') }
      : message
  })
}

/** Whether a row says anything of tools, so that its answer must be planned and read. */
export function asksForTools({ tools, tool_choice: choice }: ToolWishes): boolean {
  return (tools ?? []).length > 0 || (typeof choice === 'object' && choice !== null) || choice === 'required'
}

/** What an answer with tools becomes: its message, and the reason of its end. */
export interface ReadAnswer {
  readonly message: object
  readonly finish_reason: string
}

/** A request with its tools, and what reads its answer. */
export interface PlannedRequest {
  readonly request: GenerateRequest
  read(done: DoneEvent): ReadAnswer
}

/** Plans the answer of a chat. Throws an ApiError for tools that can't be called, and `unsupported`. */
export function withTools(engine: PlanningEngine, request: GenerateRequest, wishes: ToolWishes): PlannedRequest {
  const prompt = request.prompt as readonly ChatMessage[]
  const context = { engine: engine as Engine, config: {} as Parameters<typeof planOf>[1]['config'] }
  const plan = planOf(wishes as ChatRequest, context, { prompt, effort: undefined, guide: request.guide })
  const { guide: _, ...rest } = request
  return {
    request: { ...rest, ...plan.options } as GenerateRequest,
    read(done) {
      const parts = new AnswerParts(plan.reader(), plan.format)
      parts.push(done.text)
      parts.finish(done)
      return { message: messageOf(parts), finish_reason: parts.finishReason(done) }
    },
  }
}
