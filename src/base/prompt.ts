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
  /**
   * Whether the text comes again in other prompts, such as a retrieved document, so that its K and V
   * may be kept and placed there. The ids of the prompt stay the same. Default false.
   */
  chunk?: boolean
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
  /** The chunks that its parts marked; absent if none did. */
  readonly chunks?: readonly PromptChunk[]
}

/** Tokens of a prompt, `from`..`to` - 1, that other prompts have at other places. */
export interface TokenRange {
  readonly from: number
  readonly to: number
}

/** A chunk of a prompt: which of the chunk's own tokens, without what is around it, are where. */
export interface PromptChunk extends TokenRange {
  /** The tokens of the chunk alone. Those at its edges may differ in a prompt. */
  readonly ids: readonly number[]
  /** Index in `ids` of the token at `from`. */
  readonly skip: number
  /** Whether it is a paragraph that nobody marked, which is kept when it comes again. */
  readonly found?: boolean
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
