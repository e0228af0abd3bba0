/** Prompts as callers write them, and as token ids. */

export interface Message {
  role: 'system' | 'user' | 'assistant' | 'tool'
  content: string
  /** Who speaks, of several with one role; what is made of it is up to the chat template. */
  name?: string
  /** What an assistant thought before it answered; up to the chat template as well. */
  reasoning_content?: string
}

/** A piece of a message, as OpenAI's API writes it. */
export interface TextPart {
  type: 'text'
  text: string
}

/** A message as a chat template may be given it: its content may be in parts, or null for an answer that has none. */
export type ChatMessage = Message | (Omit<Message, 'content'> & { content: readonly TextPart[] | null })

/** One user message (or with `raw` a text to continue), a conversation, or token ids as they are: also those of `Engine.prepare`. */
export type PromptInput = string | readonly ChatMessage[] | readonly number[]

/** A prompt's ids, made by `Engine.prepare`, for any number of requests to the same engine. */
export interface PreparedPrompt extends ReadonlyArray<number> {
  readonly times: PromptTimes
}

/** When a prompt was accepted, templated (if it was) and tokenized, in milliseconds as `performance.now()` tells them. */
export interface PromptTimes {
  readonly accepted: number
  readonly templated?: number
  readonly tokenized: number
}
