/**
 * The answers of Anthropic's and Ollama's routes against the types that their clients publish. tsc
 * compares (`npm run check`); that the answers match the schemas is tested in `anthropic.test.ts` and
 * `ollama.test.ts`.
 */
import type Anthropic from '@anthropic-ai/sdk'
import type * as ollama from 'ollama'
import { expect, test } from 'vitest'
import type * as messages from '../../edge/anthropic/answer-schemas.ts'
import type { messagesRequest } from '../../edge/anthropic/schemas.ts'
import type * as lines from '../../edge/ollama/schemas.ts'
import type { z } from '../../edge/schemas/common.ts'

/** Compiles only if the first type is assignable to the second. */
type Is<Ours extends Theirs, Theirs> = [Ours, Theirs]

/**
 * What JSON makes of a type of Ollama's client, which declares dates that it does not parse. A field
 * that may be absent may be undefined, too.
 */
type Json<T> = T extends Date
  ? string
  : T extends Map<string, unknown>
    ? object
    : T extends readonly (infer E)[]
      ? Json<E>[]
      : T extends object
        ? { [K in keyof T]: Json<T[K]> | (Pick<T, never> extends Pick<T, K> ? undefined : never) }
        : T

type Out<S extends z.ZodType> = z.output<S>

type Checked = [
  Is<messages.MessagesResponse, Anthropic.Message>,
  Is<messages.MessagesEvent, Anthropic.RawMessageStreamEvent>,
  Is<Out<typeof messages.countResponse>, Anthropic.MessageTokensCount>,
  Is<messages.ErrorResponse, Anthropic.ErrorResponse>,
  Is<messages.ModelInfo, Anthropic.ModelInfo>,
  Is<Out<typeof lines.chatResponse>, Json<Omit<ollama.ChatResponse, 'logprobs'>>>,
  // No state of a conversation is returned: see `context` in docs/server.md.
  Is<Out<typeof lines.textResponse>, Json<Omit<ollama.GenerateResponse, 'logprobs' | 'context'>>>,
  Is<Logprobs<Out<typeof lines.chatResponse>>, Logprobs<ollama.ChatResponse>>,
  Is<Listed<Out<typeof lines.tagsResponse>>, Json<Omit<Listed<ollama.ListResponse>, 'expires_at' | 'size_vram'>>>,
  Is<Listed<Out<typeof lines.runningResponse>>, Json<Omit<Listed<ollama.ListResponse>, 'modified_at'>>>,
  Is<Out<typeof lines.showResponse>, Json<Omit<ollama.ShowResponse, 'messages'>>>,
  Is<lines.EmbedResponse, ollama.EmbedResponse>,
  Is<Out<typeof lines.versionResponse>, ollama.VersionResponse>,
  Is<Out<typeof lines.errorResponse>, ollama.ErrorResponse>,
  // Every request that the clients' types allow for text alone.
  Is<TextMessages, z.input<typeof messagesRequest>>,
  Is<TextChat, z.input<typeof lines.chatRequest>>,
]

type Logprobs<T extends { logprobs?: unknown }> = NonNullable<T['logprobs']>
type Listed<T extends { models: readonly unknown[] }> = T['models'][number]

type TextMessages = Pick<
  Anthropic.MessageCreateParams,
  'model' | 'max_tokens' | 'system' | 'stop_sequences' | 'stream' | 'metadata'
> & { messages: { role: 'user' | 'assistant'; content: string | Anthropic.TextBlockParam[] }[] }

type TextChat = Pick<ollama.ChatRequest, 'model' | 'stream' | 'keep_alive' | 'logprobs' | 'top_logprobs'> & {
  messages?: { role: 'user' | 'assistant' | 'system'; content: string; thinking?: string }[]
}

test('tsc compares the types', () => {
  const checked: Checked | undefined = undefined
  expect(checked).toBeUndefined()
})
