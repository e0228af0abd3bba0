/** `POST /v1/responses`, without a memory: every request brings its whole conversation. */
import { harmless, noTools, report, sampling, textPart, unsupported, z } from './common.ts'

const input = z.union([z.string(), z.array(textPart('input_text')).min(1).max(256)])

/** As a response gives it; clients send the parts of earlier responses back. */
const output = z.union([
  z.string(),
  z
    .array(
      z.strictObject({
        type: z.literal('output_text'),
        text: z.string(),
        annotations: z.array(z.unknown()).max(0).nullish(),
        logprobs: harmless(z.array(z.unknown()), 'read for nothing'),
      }),
    )
    .min(1)
    .max(256),
])

const item = z
  .discriminatedUnion('role', [
    z.strictObject({
      type: z.literal('message').optional(),
      role: z.enum(['system', 'developer', 'user']),
      content: input,
      id: harmless(z.string().max(200), 'nothing is stored'),
      status: harmless(z.string().max(40), 'used for nothing'),
    }),
    z.strictObject({
      type: z.literal('message').optional(),
      role: z.literal('assistant'),
      content: output,
      id: harmless(z.string().max(200), 'nothing is stored'),
      status: harmless(z.string().max(40), 'used for nothing'),
      phase: harmless(z.string().max(40), 'used for nothing'),
    }),
  ])
  .openapi('ResponseInputMessage')

export const responsesRequest = z
  .strictObject({
    ...sampling,
    ...noTools,
    input: z.union([z.string().min(1), z.array(item).min(1)]),
    instructions: z.string().nullish().openapi({ description: 'A system message before all others.' }),
    max_output_tokens: z.number().int().min(1).max(1_000_000).nullish(),
    top_logprobs: z.number().int().min(0).max(20).nullish(),
    include: z.array(z.literal('message.output_text.logprobs', unsupported)).max(8).nullish(),
    text: z
      .strictObject({ format: z.strictObject({ type: z.literal('text', unsupported) }).nullish() })
      .nullish()
      .openapi({ description: 'Plain text is the only format.' }),
    truncation: z.literal('disabled', unsupported).nullish(),
    background: z.literal(false, unsupported).nullish(),
    stream_options: z.strictObject({ include_obfuscation: harmless(z.literal(false), 'nothing is padded') }).nullish(),
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
      z.object({
        id: z.string(),
        type: z.literal('message'),
        role: z.literal('assistant'),
        status: z.string(),
        content: z.array(
          z.object({ type: z.literal('output_text'), text: z.string(), annotations: z.array(z.unknown()) }).loose(),
        ),
      }),
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
