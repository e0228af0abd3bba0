/** `POST /v1/chat/completions`. */
import {
  choosing,
  effort,
  harmless,
  only,
  refused,
  sampling,
  templating,
  textPart,
  tokenLimit,
  unsupported,
  usage,
  z,
} from './common.ts'
import { responseFormat } from './guide.ts'
import { chatCall, chatTool, chatToolChoice, olderTools, parallelToolCalls } from './tools.ts'

const part = textPart('text').extend({
  foretoken: z.strictObject({ chunks: z.boolean().nullish() }).nullish().openapi({
    description:
      'With `chunks: true`, the text comes again in other prompts, such as a retrieved document: its K and V are kept, and placed where it is known. Prefill is then `refined` unless the request says otherwise.',
  }),
})
const text = z.union([z.string(), z.array(part).min(1).max(256)])
const name = z.string().max(256).nullish().openapi({ description: 'Passed to the chat template.' })

const message = z
  .discriminatedUnion('role', [
    z.object({ role: z.enum(['system', 'developer', 'user']), content: text, name }),
    z.object({
      role: z.literal('assistant'),
      content: text.nullish(),
      name,
      reasoning_content: z.string().nullish().openapi({ description: 'Passed to the chat template.' }),
      refusal: refused('a refusal is a message; send its text as content'),
      annotations: refused('messages have no annotations'),
      audio: refused('text is the only kind of content'),
      tool_calls: z.array(chatCall).max(128).nullish(),
      function_call: refused('send `tool_calls`'),
    }),
    z.object({
      role: z.literal('tool'),
      content: text,
      tool_call_id: z.string().max(256).openapi({ description: 'The id of the call that it answers.' }),
      name,
    }),
  ])
  .openapi('ChatMessage')

export const chatRequest = z
  .object({
    ...sampling,
    ...choosing,
    ...templating,
    tools: z.array(chatTool).max(128).nullish(),
    tool_choice: chatToolChoice.nullish(),
    parallel_tool_calls: parallelToolCalls,
    messages: z.array(message).min(1),
    max_completion_tokens: tokenLimit.nullish(),
    max_tokens: tokenLimit.nullish().openapi({ deprecated: true }),
    logprobs: z.boolean().nullish(),
    top_logprobs: z.number().int().min(0).max(20).nullish(),
    response_format: responseFormat
      .nullish()
      .openapi({ description: 'The shape of the answer: text, any JSON object, or a JSON schema.' }),
    modalities: only(z.array(z.literal('text', unsupported)).min(1).max(1), 'Only text.'),
    audio: refused('text is the only kind of answer'),
    ...olderTools,
    web_search_options: refused('there is no web search'),
    echo: refused('chat answers do not repeat their prompt'),
    prediction: harmless('it affects only the speed of an answer, not its text'),
    reasoning_effort: effort,
    verbosity: harmless('the model decides how verbose it is'),
  })
  .openapi('ChatCompletionRequest')

export type ChatRequest = z.output<typeof chatRequest>

const scored = { token: z.string(), logprob: z.number(), bytes: z.array(z.number().int()).nullable() }

const logprobs = z.object({
  content: z.array(z.object({ ...scored, top_logprobs: z.array(z.object(scored)) })),
  refusal: z.null(),
})

const answeredCall = z.object({
  id: z.string(),
  type: z.literal('function'),
  function: z.object({ name: z.string(), arguments: z.string() }),
})

export const chatResponse = z
  .object({
    id: z.string(),
    object: z.literal('chat.completion'),
    created: z.number().int(),
    model: z.string(),
    choices: z.array(
      z.object({
        index: z.number().int(),
        message: z.object({
          role: z.literal('assistant'),
          content: z.string().nullable(),
          refusal: z.null(),
          reasoning_content: z.string().optional(),
          tool_calls: z.array(answeredCall).optional(),
        }),
        logprobs: logprobs.nullable(),
        finish_reason: z.enum(['stop', 'length', 'tool_calls']),
      }),
    ),
    usage,
  })
  .openapi('ChatCompletion')
