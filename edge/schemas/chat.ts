/** `POST /v1/chat/completions`. */
import { choosing, harmless, noTools, sampling, textPart, unsupported, usage, z } from './common.ts'

const text = z.union([z.string(), z.array(textPart('text')).min(1).max(256)])

const message = z
  .discriminatedUnion('role', [
    z.strictObject({ role: z.enum(['system', 'developer', 'user']), content: text }),
    z.strictObject({
      role: z.literal('assistant'),
      content: text,
      refusal: z.null().optional(),
      annotations: z.array(z.unknown()).max(0, unsupported).nullish(),
      audio: z.null(unsupported).optional(),
      tool_calls: z.array(z.unknown()).max(0, unsupported).nullish(),
    }),
  ])
  .openapi('ChatMessage')

export const chatRequest = z
  .strictObject({
    ...sampling,
    ...choosing,
    ...noTools,
    messages: z.array(message).min(1),
    max_completion_tokens: z.number().int().min(1).max(1_000_000).nullish(),
    max_tokens: z.number().int().min(1).max(1_000_000).nullish().openapi({ deprecated: true }),
    logprobs: z.boolean().nullish(),
    top_logprobs: z.number().int().min(0).max(20).nullish(),
    response_format: z.strictObject({ type: z.literal('text', unsupported) }).nullish(),
    modalities: harmless(z.array(z.literal('text', unsupported)).min(1).max(1), 'answers are text'),
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
