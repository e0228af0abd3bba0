/**
 * Answers, events, failures and lists of Anthropic's contract. Tests compare the types with those of
 * Anthropic's own client.
 */
import { report, z } from '../schemas/common.ts'

export const countResponse = z.object({ input_tokens: z.number().int() }).openapi('AnthropicTokenCount')

const nothing = z.null()

/** Token counts. The cached tokens of a prompt are not part of `input_tokens`. */
const counts = {
  input_tokens: z.number().int(),
  cache_read_input_tokens: z.number().int(),
  cache_creation_input_tokens: z.number().int(),
  output_tokens: z.number().int(),
  output_tokens_details: z.object({ thinking_tokens: z.number().int() }).nullable(),
  server_tool_use: nothing,
}

const usage = z.object({
  ...counts,
  cache_creation: nothing,
  inference_geo: nothing,
  service_tier: z.literal('standard'),
  speed: nothing,
  foretoken: report.optional(),
})

const stopReason = z.enum(['end_turn', 'max_tokens', 'stop_sequence', 'tool_use', 'model_context_window_exceeded'])

const block = z.discriminatedUnion('type', [
  z.object({ type: z.literal('text'), text: z.string(), citations: nothing }),
  z.object({ type: z.literal('thinking'), thinking: z.string(), signature: z.string() }),
  z.object({
    type: z.literal('tool_use'),
    id: z.string(),
    name: z.string(),
    input: z.record(z.string(), z.unknown()),
    caller: z.object({ type: z.literal('direct') }),
  }),
])

export type MessageBlock = z.output<typeof block>

/** How an answer ended; all null while it runs. */
const ending = {
  stop_reason: stopReason.nullable(),
  stop_sequence: z.string().nullable(),
  stop_details: nothing,
  container: nothing,
}

export const messagesResponse = z
  .object({
    id: z.string(),
    type: z.literal('message'),
    role: z.literal('assistant'),
    model: z.string(),
    content: z.array(block),
    ...ending,
    diagnostics: nothing,
    usage,
  })
  .openapi('AnthropicMessageResponse')

export type MessagesResponse = z.output<typeof messagesResponse>

const index = z.number().int()

/** The events of a stream, in their order; `ping` may come at any time, `error` is the last. */
export const messagesEvent = z
  .discriminatedUnion('type', [
    z.object({ type: z.literal('message_start'), message: messagesResponse }),
    z.object({ type: z.literal('content_block_start'), index, content_block: block }),
    z.object({
      type: z.literal('content_block_delta'),
      index,
      delta: z.discriminatedUnion('type', [
        z.object({ type: z.literal('text_delta'), text: z.string() }),
        z.object({ type: z.literal('thinking_delta'), thinking: z.string() }),
        z.object({ type: z.literal('input_json_delta'), partial_json: z.string() }),
      ]),
    }),
    z.object({ type: z.literal('content_block_stop'), index }),
    z.object({
      type: z.literal('message_delta'),
      delta: z.object(ending),
      usage: z.object({ ...counts, foretoken: report }),
    }),
    z.object({ type: z.literal('message_stop') }),
  ])
  .openapi('AnthropicStreamEvent')

export type MessagesEvent = z.output<typeof messagesEvent>

export const errorTypes = [
  'invalid_request_error',
  'authentication_error',
  'permission_error',
  'not_found_error',
  'rate_limit_error',
  'timeout_error',
  'api_error',
  'overloaded_error',
] as const

export const errorResponse = z
  .object({
    type: z.literal('error'),
    error: z.object({
      type: z.enum(errorTypes),
      message: z.string(),
      details: z.object({ error_code: z.literal('thread_unsupported_request') }).optional(),
    }),
    request_id: z.string().nullable(),
  })
  .openapi('AnthropicError')

export type ErrorResponse = z.output<typeof errorResponse>

export const modelInfo = z
  .object({
    type: z.literal('model'),
    id: z.string(),
    display_name: z.string(),
    created_at: z.string(),
    lifecycle: z.literal('active'),
    max_input_tokens: z.number().int().nullable(),
    max_tokens: z.number().int().nullable(),
    capabilities: nothing,
    line: nothing,
    deprecated_at: nothing,
    retires_at: nothing,
  })
  .openapi('AnthropicModel')

export type ModelInfo = z.output<typeof modelInfo>

export const modelInfoList = z
  .object({
    data: z.array(modelInfo),
    has_more: z.boolean(),
    first_id: z.string().nullable(),
    last_id: z.string().nullable(),
  })
  .openapi('AnthropicModelList')
