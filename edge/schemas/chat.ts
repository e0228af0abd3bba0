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
import { responseFormat } from './guide.ts'

const text = z.union([z.string(), z.array(textPart('text')).min(1).max(256)])
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
    response_format: responseFormat
      .nullish()
      .openapi({ description: 'The shape of the answer: text, any JSON object, or a JSON schema.' }),
    modalities: only(z.array(z.literal('text', unsupported)).min(1).max(1), 'Only text.'),
    audio: refused('text is the only kind of answer'),
    functions: refused('tools are not supported'),
    function_call: only(z.enum(['none', 'auto'], unsupported), 'Refused; tools are not supported'),
    web_search_options: refused('there is no web search'),
    echo: refused('chat answers do not repeat their prompt'),
    prediction: harmless('it affects only the speed of an answer, not its text'),
    reasoning_effort: harmless('the model decides how much it reasons; see `chat_template_kwargs`'),
    verbosity: harmless('the model decides how verbose it is'),
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
