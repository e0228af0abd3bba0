/** Requests of `POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's contract. */
import { extension, harmless, notHere, refused, sampling, templating, z } from '../schemas/common.ts'
import { toolName } from '../schemas/tools.ts'

const cache_control = harmless('prefixes are always cached, by their tokens')

/** The same, on what `foretoken.chunks` makes a chunk. */
const marking = harmless('prefixes are always cached, by their tokens; with `foretoken.chunks` it marks a chunk')

const textBlock = z.object({
  type: z.literal('text'),
  text: z.string(),
  cache_control: marking,
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

const callBlock = z.object({
  type: z.literal('tool_use'),
  id: z.string().max(256),
  name: toolName,
  input: z.record(z.string(), z.unknown()),
  cache_control,
  caller: harmless('all calls are the model’s'),
})

/** Names the type of a block that is not taken. */
function otherBlock({ input }: { readonly input: unknown }): string {
  const type = typeof input === 'object' && input !== null && 'type' in input ? input.type : undefined
  const shown = typeof type === 'string' ? JSON.stringify(type.slice(0, 60)) : 'missing'
  return `${notHere}: the type is ${shown}, but content is text, and calls of tools and their results where they belong`
}

const texts = z.array(z.discriminatedUnion('type', [textBlock], { error: otherBlock })).max(256)

const resultBlock = z.object({
  type: z.literal('tool_result'),
  tool_use_id: z.string().max(256),
  content: z.union([z.string(), texts]).nullish(),
  is_error: z.boolean().nullish().openapi({ description: 'Says so to the model where there is no content.' }),
  cache_control: marking,
})

const asked = z.array(z.discriminatedUnion('type', [textBlock, resultBlock], { error: otherBlock })).max(256)
const said = z
  .array(z.discriminatedUnion('type', [textBlock, thinkingBlock, hiddenBlock, callBlock], { error: otherBlock }))
  .max(256)

const message = z
  .discriminatedUnion('role', [
    z.object({ role: z.literal('user'), content: z.union([z.string(), asked]) }),
    z.object({ role: z.literal('system'), content: z.union([z.string(), texts]) }),
    z.object({ role: z.literal('assistant'), content: z.union([z.string(), said]) }),
  ])
  .openapi('AnthropicMessage')

const tool = z
  .object({
    type: z.literal('custom', `${notHere}; the only tools are those of the caller`).nullish(),
    name: toolName,
    description: z.string().nullish(),
    input_schema: z.record(z.string(), z.unknown()).openapi({ description: 'A JSON Schema of the input.' }),
    strict: harmless('input always follows the schema'),
    eager_input_streaming: harmless('input is streamed as it is made'),
    allowed_callers: harmless('all calls are the model’s'),
    input_examples: refused('put examples into the description'),
    defer_loading: refused('the model is told about all tools'),
    cache_control,
  })
  .openapi('AnthropicTool')

const single = z.boolean().nullish().openapi({ description: 'Whether an answer calls at most one tool.' })

const toolChoice = z.discriminatedUnion('type', [
  z.object({ type: z.enum(['auto', 'any']), disable_parallel_tool_use: single }),
  z.object({ type: z.literal('none') }),
  z.object({ type: z.literal('tool'), name: toolName, disable_parallel_tool_use: single }),
])

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
  .openapi({ description: 'Sets `enable_thinking` of the chat template. Default: no thinking.' })

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
  tools: z.array(tool).max(128).nullish(),
  tool_choice: toolChoice.nullish(),
  cache_control,
  mcp_servers: refused('this server calls no other'),
  thread: refused('nothing is kept between requests; send the whole conversation'),
  context_management: harmless('a conversation that is too long is refused, not shortened'),
  output_config: z
    .object({ effort: harmless('the model decides how much it reasons'), format: format.nullish() })
    .nullish()
    .openapi({ description: 'The shape of the answer: a JSON schema. At most one field may give it.' }),
  output_format: format.nullish().openapi({ description: 'An older name of `output_config.format`.' }),
  speed: harmless('there is only one speed'),
  foretoken: extension
    .extend({
      chunks: z
        .union([z.boolean(), z.literal('auto')])
        .nullish()
        .openapi({
          description:
            'Whether blocks with `cache_control` come again in other prompts, such as retrieved documents: their K and V are kept, and placed where they are known. Prefill is then `refined` unless `prefill` says otherwise. `auto`: paragraphs of 24 tokens and more that come again are chunks, without marks. Default false.',
        }),
    })
    .openapi('AnthropicForetokenExtension')
    .nullish(),
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
    ...{ stop_token_ids, min_tokens, ignore_eos },
    ...{ guided_json, guided_regex, guided_choice, guided_grammar, structured_outputs },
  })
  .openapi('AnthropicMessagesRequest')

export const countRequest = z.object(conversation).openapi('AnthropicCountRequest')

export type MessagesRequest = z.output<typeof messagesRequest>
export type Conversation = z.output<typeof countRequest>
