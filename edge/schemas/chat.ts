/** `POST /v1/chat/completions`. */
import {
  choosing,
  harmless,
  noTools,
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

const text = z.union([z.string(), z.array(textPart('text')).min(1).max(256)])
const name = z.string().max(256).nullish().openapi({ description: 'Given to the chat template.' })

const message = z
  .discriminatedUnion('role', [
    z.object({ role: z.enum(['system', 'developer', 'user']), content: text, name }),
    z.object({
      role: z.literal('assistant'),
      content: text.nullish(),
      name,
      reasoning_content: z.string().nullish().openapi({ description: 'Given to the chat template.' }),
      refusal: refused('a refusal is a message; send its text as content'),
      annotations: refused('messages have none'),
      audio: refused('messages are text'),
      tool_calls: refused('tools are not supported'),
      function_call: refused('tools are not supported'),
    }),
  ])
  .openapi('ChatMessage')

export const chatRequest = z
  .object({
    ...sampling,
    ...choosing,
    ...templating,
    ...noTools,
    messages: z.array(message).min(1),
    max_completion_tokens: tokenLimit.nullish(),
    max_tokens: tokenLimit.nullish().openapi({ deprecated: true }),
    logprobs: z.boolean().nullish(),
    top_logprobs: z.number().int().min(0).max(20).nullish(),
    response_format: only(z.object({ type: z.literal('text', unsupported) }), 'Answers are text, not constrained.'),
    modalities: only(z.array(z.literal('text', unsupported)).min(1).max(1), 'Answers are text.'),
    audio: refused('answers are text'),
    functions: refused('tools are not supported'),
    function_call: only(z.enum(['none', 'auto'], unsupported), 'Refused; tools are not supported'),
    web_search_options: refused('nothing is searched'),
    echo: refused('an answer does not begin with its prompt'),
    prediction: harmless('what it says changes the time of an answer, not the answer'),
    reasoning_effort: harmless('the model thinks as it does; see `chat_template_kwargs`'),
    verbosity: harmless('the model is as verbose as it is'),
  })
  .openapi('ChatCompletionRequest')

export type ChatRequest = z.output<typeof chatRequest>

const scored = { token: z.string(), logprob: z.number(), bytes: z.array(z.number().int()).nullable() }

const logprobs = z.object({
  content: z.array(z.object({ ...scored, top_logprobs: z.array(z.object(scored)) })),
  refusal: z.null(),
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
        message: z.object({ role: z.literal('assistant'), content: z.string(), refusal: z.null() }),
        logprobs: logprobs.nullable(),
        finish_reason: z.enum(['stop', 'length']),
      }),
    ),
    usage,
  })
  .openapi('ChatCompletion')
