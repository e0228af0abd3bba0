/** Types of prompts, as text and as token ids. */
import type { ToolCall } from './tool.ts'

/** A message of a conversation. */
export interface Message {
  role: 'system' | 'user' | 'assistant' | 'tool'
  content: string
  /** Distinguishes speakers with the same role. The chat template decides what to do with it. */
  name?: string
  /** The assistant's reasoning before its answer. The chat template decides what to do with it. */
  reasoning_content?: string
  /** The calls of tools that the assistant's answer consists of, or ends with. */
  tool_calls?: readonly ToolCall[]
  /** In a tool's message: the id of the call that it answers. */
  tool_call_id?: string
}

/** A part of a message, as in OpenAI's API. */
export interface TextPart {
  type: 'text'
  text: string
}

/** A message whose content may be text, a list of parts, or null for an answer without content. */
export type ChatMessage = Message | (Omit<Message, 'content'> & { content: readonly TextPart[] | null })

/**
 * One user message (or, with `raw`, a text to continue), a conversation, or token ids, which are
 * used as they are. The ids may come from `Engine.prepare`.
 */
export type PromptInput = string | readonly ChatMessage[] | readonly number[]

/**
 * The token ids of a prompt, from `Engine.prepare`, for any number of requests to the same engine.
 */
export interface PreparedPrompt extends ReadonlyArray<number> {
  readonly times: PromptTimes
}

/**
 * Times at which a prompt was accepted, templated (if it was) and tokenized, in milliseconds of
 * `performance.now()`.
 */
export interface PromptTimes {
  readonly accepted: number
  readonly templated?: number
  readonly tokenized: number
}
