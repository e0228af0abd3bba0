/**
 * `POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's contract. The answers are
 * schemas, too; tests compare their types with those of Anthropic's own client.
 */
import { harmless, notHere, only, refused, report, sampling, templating, unsupported, z } from '../schemas/common.ts'

const cache_control = harmless('prefixes are always cached, by their tokens')

const textBlock = z.object({
  type: z.literal('text'),
  text: z.string(),
  cache_control,
  citations: harmless('it is ignored'),
})

/** Reasoning of an earlier answer. */
const thinkingBlock = z.object({
  type: z.literal('thinking'),
  thinking: z.string(),
  signature: harmless('reasoning is not signed'),
})

const hiddenBlock = z.object({
  type: z.literal('redacted_thinking'),
  data: harmless('this server cannot read it'),
})

/** Names the type of a block that is not taken. */
function otherBlock({ input }: { readonly input: unknown }): string {
  const type = typeof input === 'object' && input !== null && 'type' in input ? input.type : undefined
  const shown = typeof type === 'string' ? JSON.stringify(type.slice(0, 60)) : 'missing'
  return `${notHere}: the type is ${shown}, but content is text`
}

const texts = z.array(z.discriminatedUnion('type', [textBlock], { error: otherBlock })).max(256)
const said = z
  .array(z.discriminatedUnion('type', [textBlock, thinkingBlock, hiddenBlock], { error: otherBlock }))
  .max(256)

const message = z
  .discriminatedUnion('role', [
    z.object({ role: z.enum(['user', 'system']), content: z.union([z.string(), texts]) }),
    z.object({ role: z.literal('assistant'), content: z.union([z.string(), said]) }),
  ])
  .openapi('AnthropicMessage')

const thinking = z
  .discriminatedUnion('type', [
    z.object({
      type: z.literal('enabled'),
      budget_tokens: harmless('the model decides how much it reasons'),
      display: harmless('reasoning is shown as the model writes it'),
    }),
    z.object({ type: z.literal('adaptive'), display: harmless('reasoning is shown as the model writes it') }),
    z.object({ type: z.literal('disabled') }),
  ])
  .openapi({ description: 'Sets `enable_thinking` of the chat template.' })

const format = z.object({
  type: z.literal('json_schema', `${notHere}; the format is json_schema`),
  schema: z.record(z.string(), z.unknown()),
})

/** What a prompt is made of; counting takes nothing else. */
const conversation = {
  model: sampling.model,
  messages: z.array(message).min(1),
  system: z.union([z.string(), texts]).nullish().openapi({ description: 'A system message that precedes all others.' }),
  thinking: thinking.nullish(),
  chat_template_kwargs: templating.chat_template_kwargs,
  tools: only(z.array(z.unknown()).max(0, unsupported), 'Tools are not supported; only an empty list is accepted.'),
  tool_choice: only(z.object({ type: z.enum(['none', 'auto'], unsupported) }), 'Tools are not supported.'),
  cache_control,
  mcp_servers: refused('this server calls no other'),
  context_management: harmless('a conversation that is too long is refused, not shortened'),
  output_config: z
    .object({ effort: harmless('the model decides how much it reasons'), format: format.nullish() })
    .nullish()
    .openapi({ description: 'The shape of the answer: a JSON schema. At most one field may give it.' }),
  speed: harmless('there is only one speed'),
}

const {
  temperature,
  top_p,
  top_k,
  min_p,
  repetition_penalty,
  presence_penalty,
  frequency_penalty,
  logit_bias,
  seed,
  stop_token_ids,
  min_tokens,
  ignore_eos,
  stream,
  foretoken,
  metadata,
  service_tier,
  guided_json,
  guided_regex,
  guided_choice,
  guided_grammar,
  structured_outputs,
} = sampling

export const messagesRequest = z
  .object({
    ...conversation,
    max_tokens: z.number().int().min(0).openapi({ description: 'Reduced to what the context leaves.' }),
    stop_sequences: sampling.stop,
    ...{ temperature, top_p, top_k, stream, metadata, service_tier },
    container: refused('there are no containers'),
    inference_geo: harmless('answers are computed where this server runs'),
    diagnostics: harmless('nothing is kept between requests'),
    ...{ seed, min_p, repetition_penalty, presence_penalty, frequency_penalty, logit_bias },
    ...{ stop_token_ids, min_tokens, ignore_eos, foretoken },
    ...{ guided_json, guided_regex, guided_choice, guided_grammar, structured_outputs },
  })
  .openapi('AnthropicMessagesRequest')

export const countRequest = z.object(conversation).openapi('AnthropicCountRequest')

export type MessagesRequest = z.output<typeof messagesRequest>
export type Conversation = z.output<typeof countRequest>

export const countResponse = z.object({ input_tokens: z.number().int() }).openapi('AnthropicTokenCount')

const nothing = z.null()

/** Token counts. The cached tokens of a prompt are not part of `input_tokens`. */
const counts = {
  input_tokens: z.number().int(),
  cache_read_input_tokens: z.number().int(),
  cache_creation_input_tokens: z.number().int(),
  output_tokens: z.number().int(),
  output_tokens_details: nothing,
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

const stopReason = z.enum(['end_turn', 'max_tokens', 'stop_sequence', 'model_context_window_exceeded'])

const block = z.object({ type: z.literal('text'), text: z.string(), citations: nothing })

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
      delta: z.object({ type: z.literal('text_delta'), text: z.string() }),
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
    error: z.object({ type: z.enum(errorTypes), message: z.string() }),
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
