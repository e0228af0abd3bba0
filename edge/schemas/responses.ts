/** `POST /v1/responses`, stateless: every request carries its whole conversation. */
import {
  effort,
  harmless,
  notHere,
  only,
  refused,
  report,
  sampling,
  templating,
  textPart,
  tokenLimit,
  unsupported,
  z,
} from './common.ts'
import { textFormat } from './guide.ts'
import { callArguments, parallelToolCalls, responseTool, responseToolChoice, toolName } from './tools.ts'

const input = z.union([z.string(), z.array(textPart('input_text')).min(1).max(256)])

/** Content of an assistant's message, as responses return it and clients send it back. */
const output = z.union([
  z.string(),
  z
    .array(
      z.object({
        type: z.literal('output_text', `${notHere}; content is output_text`),
        text: z.string(),
        annotations: refused('messages have no annotations'),
        logprobs: harmless('it is ignored'),
      }),
    )
    .min(1)
    .max(256),
])

/** Fields of an item that are ignored; only its role and its content matter. */
const about = {
  type: z.literal('message').optional(),
  id: harmless('nothing is stored'),
  status: harmless('it is ignored'),
  phase: harmless('it is ignored'),
}

const message = z
  .discriminatedUnion('role', [
    z.object({ ...about, role: z.enum(['system', 'developer', 'user']), content: input }),
    z.object({ ...about, role: z.literal('assistant'), content: output.nullish() }),
  ])
  .openapi('ResponseInputMessage')

const texts = z.array(z.object({ type: z.string(), text: z.string() })).max(256)

/** A call, as an earlier response returned it. */
const call = z
  .object({
    type: z.literal('function_call'),
    id: harmless('nothing is stored'),
    call_id: z.string().max(256),
    name: toolName,
    arguments: callArguments,
    status: harmless('it is ignored'),
  })
  .openapi('ResponseFunctionCall')

const result = z
  .object({
    type: z.literal('function_call_output'),
    id: harmless('nothing is stored'),
    call_id: z.string().max(256).openapi({ description: 'The id of the call that it answers.' }),
    output: input,
    status: harmless('it is ignored'),
  })
  .openapi('ResponseFunctionCallOutput')

/** Thoughts, as an earlier response returned them. */
const thoughts = z
  .object({
    type: z.literal('reasoning'),
    id: harmless('nothing is stored'),
    summary: texts.nullish(),
    content: texts.nullish().openapi({ description: 'Passed to the chat template.' }),
    encrypted_content: harmless('thoughts are sent as text'),
    status: harmless('it is ignored'),
  })
  .openapi('ResponseReasoning')

const item = z.union([message, z.discriminatedUnion('type', [call, result, thoughts])]).openapi('ResponseInputItem')

export const responsesRequest = z
  .object({
    ...sampling,
    ...templating,
    tools: z.array(responseTool).max(128).nullish(),
    tool_choice: responseToolChoice.nullish(),
    parallel_tool_calls: parallelToolCalls,
    input: z.union([z.string().min(1), z.array(item).min(1)]),
    instructions: z.string().nullish().openapi({ description: 'A system message that precedes all others.' }),
    max_output_tokens: tokenLimit.nullish(),
    top_logprobs: z.number().int().min(0).max(20).nullish(),
    include: z.array(z.string().max(100)).max(16).nullish().openapi({
      description: '`message.output_text.logprobs` is honoured; other values have nothing to include.',
    }),
    text: z
      .object({
        format: textFormat.nullish(),
        verbosity: harmless('the model decides how verbose it is'),
      })
      .nullish()
      .openapi({ description: 'The shape of the answer: text, any JSON object, or a JSON schema.' }),
    n: only(z.literal(1, unsupported), 'Refused; a response has one answer'),
    truncation: harmless('a conversation that is too long is refused, not truncated'),
    background: only(z.literal(false, unsupported), 'Refused; responses are answered while the client waits'),
    previous_response_id: refused('nothing is kept between requests; send the whole conversation with store: false'),
    conversation: refused('nothing is kept between requests; send the whole conversation with store: false'),
    prompt: refused('prompts are not stored'),
    reasoning: z
      .object({
        effort,
        summary: harmless('thoughts are shown whole'),
        generate_summary: harmless('thoughts are shown whole'),
      })
      .nullish(),
    max_tool_calls: harmless('it counts calls of tools that a server runs'),
    context_management: harmless('a conversation that is too long is refused, not truncated'),
    stream_options: z.object({ include_obfuscation: harmless('streams are not padded') }).nullish(),
  })
  .openapi('ResponseRequest')

export type ResponsesRequest = z.output<typeof responsesRequest>

export const responsesResponse = z
  .object({
    id: z.string(),
    object: z.literal('response'),
    created_at: z.number().int(),
    status: z.enum(['completed', 'incomplete', 'in_progress', 'failed']),
    model: z.string(),
    output: z.array(
      z.discriminatedUnion('type', [
        z.object({
          id: z.string(),
          type: z.literal('message'),
          role: z.literal('assistant'),
          status: z.string(),
          content: z.array(
            z.object({ type: z.literal('output_text'), text: z.string(), annotations: z.array(z.unknown()) }).loose(),
          ),
        }),
        z.object({
          id: z.string(),
          type: z.literal('function_call'),
          status: z.string(),
          call_id: z.string(),
          name: z.string(),
          arguments: z.string(),
        }),
        z.object({
          id: z.string(),
          type: z.literal('reasoning'),
          status: z.string(),
          summary: z.array(z.unknown()),
          content: z.array(z.object({ type: z.literal('reasoning_text'), text: z.string() })),
        }),
      ]),
    ),
    usage: z
      .object({
        input_tokens: z.number().int(),
        input_tokens_details: z.object({ cached_tokens: z.number().int() }),
        output_tokens: z.number().int(),
        output_tokens_details: z.object({ reasoning_tokens: z.number().int() }),
        total_tokens: z.number().int(),
        foretoken: report,
      })
      .nullable(),
  })
  .loose()
  .openapi('Response')
