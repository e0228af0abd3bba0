/**
 * What all requests have in common. These schemas are the validation, the OpenAPI document and the table in docs/server.md at once. They
 * see a body behind `normalize.ts`: without nulls, and with every field by its own name.
 *
 * A field is honoured, accepted (it is read for nothing, and the answer is what it would be), or refused (ignoring it would change what
 * the answer means, so that only a value that asks for nothing is taken). A field that no schema names is ignored, and the client told so.
 */
import { z } from '@hono/zod-openapi'
import { seedIn } from '../../src/index.ts'

export { z }

export type Handling = 'honoured' | 'accepted' | 'refused'

/** Where the OpenAPI document tells the handling of a field, unless it is honoured. */
export const handlingKey = 'x-foretoken-handling'

/** A field that is read for nothing, since leaving it out would change nothing here; whatever it holds. */
export function harmless(about: string) {
  return z
    .unknown()
    .optional()
    .openapi({ description: `Accepted; ${about}`, [handlingKey]: 'accepted' satisfies Handling })
}

/** A field that asks for something that is not here, but for the values of `type`. */
export function only<T extends z.ZodType>(type: T, about: string) {
  return type.nullish().openapi({ description: about, [handlingKey]: 'refused' satisfies Handling })
}

/** What a value says that asks for something that is not here. */
export const notHere = 'not supported by this server'
export const unsupported = `${notHere}; leave it out`

/** A field whose being ignored would change what the answer means; `about` says why it is not here. */
export function refused(about: string) {
  const message = `${notHere} (${about}); leave it out`
  const nothing = z.union([z.literal(false), z.literal(''), z.array(z.unknown()).max(0, message)], message)
  return only(nothing, `Refused; ${about}`)
}

/** A limit of tokens: larger ones were cut before. */
export const tokenLimit = z.number().int().min(-1).openapi({ description: '-1 is no limit but the context.' })

/** An answer may be as long as its context: what a body says of the length of its answer, or undefined for no limit of its own. */
export function limitOf(given: number | null | undefined): number | undefined {
  return given === null || given === -1 ? undefined : given
}

/** A number, or the text of one that is too long for that. */
const seed = z
  .custom<number | string>((value) => seedIn(value) !== undefined, 'must be a whole number of 64 bits')
  .transform((value) => seedIn(value)!)
  .openapi({ type: 'integer', format: 'int64' })

export const prefillKind = z.enum(['exact', 'predicted', 'refined', 'auto'])

const topK = z.number().int().min(-1).openapi({ description: 'Draws among the k likeliest tokens; 0 and -1 are all.' })
const minP = z.number().min(0).max(1).openapi({ description: 'Drops tokens below this share of the likeliest.' })
const repetitionPenalty = z.number().gt(0).max(10).openapi({ description: 'Above 1 avoids what was seen.' })

/** What this server takes beyond OpenAI's fields. Its names are this server's own, so that an unknown one is a mistake. */
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
    top_k: topK.nullish(),
    min_p: minP.nullish(),
    repetition_penalty: repetitionPenalty.nullish(),
    ignore_eos: z.boolean().nullish(),
  })
  .openapi('ForetokenExtension')

export const stop = z.union([z.string().min(1).max(200), z.array(z.string().min(1).max(200)).max(16)])

/** How many entries the fields of a request may have, counted before any of them is looked at. */
export const entries = {
  metadata: 16,
  logit_bias: 1024,
  stop: 16,
  stop_sequences: 16,
  stop_token_ids: 1024,
  tools: 128,
  functions: 128,
  modalities: 8,
  include: 16,
  chat_template_kwargs: 64,
  options: 64,
}

const tokenId = z.number().int().min(0).max(10_000_000)

/** Fields of every request that makes text. */
export const sampling = {
  model: z
    .string()
    .min(1)
    .max(300)
    // Not as a pattern: documents of OpenAPI have no flags for those.
    .refine((name) => !/\p{Cc}/u.test(name), 'a name has no control characters'),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  top_k: topK.nullish(),
  min_p: minP.nullish(),
  repetition_penalty: repetitionPenalty.nullish(),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  logit_bias: z
    .record(z.string().regex(/^(0|[1-9]\d{0,8})$/, 'keys are token ids'), z.number().min(-100).max(100))
    .refine((value) => Object.keys(value).length <= 1024, 'at most 1024 tokens')
    .nullish(),
  seed: seed.nullish().openapi({
    description: 'Any whole number of 64 bits; the same seed draws the same, here and on the command line.',
  }),
  stop: stop.nullish(),
  stop_token_ids: z
    .array(tokenId)
    .max(1024)
    .nullish()
    .openapi({ description: 'Tokens that end the answer, beside the model’s own.' }),
  min_tokens: z
    .number()
    .int()
    .min(0)
    .nullish()
    .openapi({ description: 'No token that ends the answer is drawn before it has so many.' }),
  ignore_eos: z.boolean().nullish().openapi({ description: 'Goes on past the model’s end-of-turn tokens.' }),
  stream: z.boolean().nullish(),
  foretoken: extension.nullish(),
  user: harmless('used for nothing'),
  safety_identifier: harmless('used for nothing'),
  prompt_cache_key: harmless('prefixes are cached by their tokens, within the tenant of the key'),
  prompt_cache_retention: harmless('the prefix cache has its own policy'),
  prompt_cache_options: harmless('the prefix cache has its own policy'),
  cache_prompt: harmless('prefixes are always cached'),
  metadata: harmless('nothing is stored'),
  store: only(z.literal(false, unsupported), 'Nothing is stored.'),
  service_tier: harmless('there is one tier'),
  skip_special_tokens: harmless('special tokens have no text in an answer'),
  spaces_between_special_tokens: harmless('special tokens have no text in an answer'),
  moderation: refused('nothing is moderated'),
  guided_json: refused('answers are not constrained'),
  guided_regex: refused('answers are not constrained'),
  guided_choice: refused('answers are not constrained'),
  guided_grammar: refused('answers are not constrained'),
  structured_outputs: refused('answers are not constrained'),
  json_schema: refused('answers are not constrained'),
  grammar: refused('answers are not constrained'),
  format: refused('answers are not constrained'),
  logits_processors: refused('there are none'),
  use_beam_search: refused('answers are drawn token by token'),
  truncate_prompt_tokens: only(z.literal(-1, unsupported), 'Refused; a prompt that is too long is refused, not cut'),
  prompt_logprobs: only(z.literal(0, unsupported), 'Refused; prompts are not scored'),
  images: refused('text is the only kind of content'),
  lora: refused('there are no adapters'),
}

/** Of chat and text completions, not of responses. */
export const choosing = {
  n: z.number().int().min(1).max(128).nullish(),
  stream_options: z
    .object({
      include_usage: z.boolean().nullish(),
      include_obfuscation: harmless('nothing is padded'),
    })
    .nullish(),
}

/** Of chats and responses: what the chat template gets beside the messages. */
export const templating = {
  chat_template_kwargs: z
    .record(z.string().max(100), z.unknown())
    .nullish()
    .openapi({ description: 'Names for the chat template, such as `enable_thinking`.' }),
  add_generation_prompt: z
    .boolean()
    .nullish()
    .openapi({ description: 'Whether the prompt ends with the beginning of an answer. Default true.' }),
  continue_final_message: z
    .boolean()
    .nullish()
    .openapi({ description: 'The last message is an answer that has begun, and the model goes on with it.' }),
  chat_template: refused('the model’s own template is used'),
  documents: refused('put them into messages'),
}

/** Tools that are not there can't be called. */
export const noTools = {
  tools: only(z.array(z.unknown()).max(0, unsupported), 'Tools are not supported: only an empty list is taken.'),
  tool_choice: only(z.enum(['none', 'auto'], unsupported), 'Tools are not supported.'),
  parallel_tool_calls: harmless('tools are not supported'),
}

export const textPart = (type: string) =>
  z
    .object({ type: z.literal(type, `${notHere}; content is ${type}`), text: z.string() })
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
