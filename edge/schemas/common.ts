/**
 * What all requests have in common. These schemas are the validation and the OpenAPI document at once: objects are strict, so that a
 * field that this server does not know is refused by its name, and null is as absent.
 */
import { z } from '@hono/zod-openapi'

export { z }

/** A field that is accepted since leaving it out would change nothing here. */
export function harmless<T extends z.ZodType>(type: T, about: string) {
  return type.nullish().openapi({ description: `Accepted; ${about}` })
}

/** A field of OpenAI's that may only have the value that asks for nothing. */
const only = <T extends z.ZodType>(type: T, about: string) => type.nullish().openapi({ description: about })

/** What a value says that asks for something that is not here. */
export const notHere = 'not supported by this server'
export const unsupported = `${notHere}; leave it out`

const seed = z
  .number()
  .int()
  .min(-(2 ** 52))
  .max(2 ** 52)

export const prefillKind = z.enum(['exact', 'predicted', 'refined', 'auto'])

/** What this server takes beyond OpenAI's fields. */
export const extension = z
  .strictObject({
    prefill: prefillKind.nullish().openapi({
      description:
        'How the prompt is read: exact; predicted (first token early); refined (the same, exact soon after); auto (refined where it is sure).',
    }),
    progress: z
      .boolean()
      .nullish()
      .openapi({ description: 'Streams tell how much of the prompt has been read, in `foretoken.progress`.' }),
    top_k: z.number().int().min(0).max(1_000_000).nullish(),
    min_p: z.number().min(0).max(1).nullish(),
    repetition_penalty: z.number().gt(0).max(10).nullish(),
    ignore_eos: z.boolean().nullish(),
  })
  .openapi('ForetokenExtension')

export const stop = z.union([z.string().min(1).max(200), z.array(z.string().min(1).max(200)).max(16)])

/** How many entries the fields of a request may have, counted before any of them is looked at. */
export const entries = { metadata: 16, logit_bias: 1024, stop: 16, tools: 128, modalities: 8, include: 8 }

/** Fields of every request that makes text. */
export const sampling = {
  model: z
    .string()
    .min(1)
    .max(300)
    .regex(/^\P{Cc}*$/u, 'a name has no control characters'),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  stream: z.boolean().nullish(),
  foretoken: extension.nullish(),
  user: harmless(z.string().max(1000), 'used for nothing'),
  safety_identifier: harmless(z.string().max(1000), 'used for nothing'),
  prompt_cache_key: harmless(z.string().max(1000), 'prefixes are cached by their tokens, within the tenant of the key'),
  metadata: harmless(
    z.record(z.string().max(64), z.string().max(512)).refine((value) => Object.keys(value).length <= 16, 'at most 16'),
    'nothing is stored',
  ),
  store: only(z.literal(false, unsupported), 'Nothing is stored.'),
  service_tier: only(z.enum(['auto', 'default'], unsupported), 'There is one tier.'),
}

/** Of chat and text completions, not of responses. */
export const choosing = {
  n: z.number().int().min(1).max(128).nullish(),
  stop: stop.nullish(),
  seed: seed.nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  logit_bias: z
    .record(z.string().regex(/^\d{1,9}$/, 'keys are token ids'), z.number().min(-100).max(100))
    .refine((value) => Object.keys(value).length <= 1024, 'at most 1024 tokens')
    .nullish(),
  stream_options: z
    .strictObject({
      include_usage: z.boolean().nullish(),
      include_obfuscation: harmless(z.literal(false), 'nothing is padded'),
    })
    .nullish(),
}

/** Tools that are not there can't be called. */
export const noTools = {
  tools: only(z.array(z.unknown()).max(0, unsupported), 'Tools are not supported: only an empty list is taken.'),
  tool_choice: only(z.enum(['none', 'auto'], unsupported), 'Tools are not supported.'),
  parallel_tool_calls: harmless(z.boolean(), 'tools are not supported'),
}

export const textPart = (type: string) =>
  z
    .strictObject({ type: z.literal(type, `${notHere}; content is ${type}`), text: z.string() })
    .openapi({ description: 'Text is the only kind of content.' })

export const errorBody = z
  .object({
    error: z.object({
      message: z.string(),
      type: z.string(),
      code: z.string().nullable(),
      param: z.string().nullable(),
    }),
  })
  .openapi('Error')

const milliseconds = z.number().min(0)

/** How the answer came about. */
export const report = z
  .object({
    prefill: z.enum(['exact', 'predicted', 'refined']),
    prefill_share: z.number(),
    exact_from: z.number().int().optional(),
    timings: z.object({
      template_ms: milliseconds,
      tokenize_ms: milliseconds,
      queue_ms: milliseconds,
      cache_ms: milliseconds,
      prefill_ms: milliseconds,
      sample_ms: milliseconds,
      ttft_ms: milliseconds,
      decode_tokens_per_s: z.number(),
    }),
    build: z.string(),
  })
  .openapi('ForetokenReport')

export const usage = z
  .object({
    prompt_tokens: z.number().int(),
    completion_tokens: z.number().int(),
    total_tokens: z.number().int(),
    prompt_tokens_details: z.object({ cached_tokens: z.number().int() }),
    foretoken: report,
  })
  .openapi('Usage')
