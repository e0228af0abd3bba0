/**
 * Fields that several requests share. The schemas serve as the validation, as the OpenAPI document
 * and as the source of the table in docs/server.md. They check a body after `normalize.ts`: it has
 * no nulls, and every field has its own name.
 *
 * A field is honoured, accepted (it is ignored, because it would not change the answer) or refused
 * (ignoring it would change the meaning of the answer, so it is accepted only at its no-op value).
 * A field that no schema names is ignored, and the client is told so.
 */
import { z } from '@hono/zod-openapi'
import { seedIn, toolFormatNames } from '../../src/index.ts'
import { guided } from './guide.ts'

export { z }

export type Handling = 'honoured' | 'accepted' | 'refused'

/** Extension key of the OpenAPI document that holds a field's handling, unless it is honoured. */
export const handlingKey = 'x-foretoken-handling'

/** Declares a field that is ignored whatever it holds, because it would change nothing here. */
export function harmless(about: string) {
  return z
    .unknown()
    .optional()
    .openapi({ description: `Accepted; ${about}`, [handlingKey]: 'accepted' satisfies Handling })
}

/** Declares a field that asks for something unsupported, except for the values of `type`. */
export function only<T extends z.ZodType>(type: T, about: string) {
  return type.nullish().openapi({ description: about, [handlingKey]: 'refused' satisfies Handling })
}

/** Beginning of the message for a value that asks for something unsupported. */
export const notHere = 'not supported by this server'
export const unsupported = `${notHere}; leave it out`

/**
 * Declares a field that must not be ignored, because that would change the meaning of the answer.
 * Only false, '' and [] are accepted; `about` says why it is not supported.
 */
export function refused(about: string) {
  const message = `${notHere} (${about}); leave it out`
  const nothing = z.union([z.literal(false), z.literal(''), z.array(z.unknown()).max(0, message)], message)
  return only(nothing, `Refused; ${about}`)
}

/** A limit of tokens. `normalize.ts` has already clamped larger numbers. */
export const tokenLimit = z.number().int().min(-1).openapi({ description: '-1: limited only by the context.' })

/**
 * Returns the maximum number of tokens in an answer, or undefined if only the context limits it.
 */
export function limitOf(tokens: number | null | undefined): number | undefined {
  return tokens === null || tokens === -1 ? undefined : tokens
}

/** A seed, as a number or, where a JSON number could not hold it, as its decimal text. */
const seed = z
  .custom<number | string>((value) => seedIn(value) !== undefined, 'must be an integer of 64 bits')
  .transform((value) => seedIn(value)!)
  .openapi({ type: 'integer', format: 'int64' })

export const prefillKind = z.enum(['exact', 'predicted', 'refined', 'auto'])

const topK = z
  .number()
  .int()
  .min(-1)
  .openapi({ description: 'Samples among the k most likely tokens; 0 and -1 mean all.' })
const minP = z
  .number()
  .min(0)
  .max(1)
  .openapi({ description: 'Drops tokens whose probability is below this fraction of the most likely one’s.' })
const repetitionPenalty = z
  .number()
  .gt(0)
  .max(10)
  .openapi({ description: 'Values above 1 make tokens that have occurred less likely.' })

/**
 * Extensions of this server. It owns these names, so an unknown one is a mistake and is refused.
 */
export const extension = z
  .strictObject({
    prefill: prefillKind.nullish().openapi({
      description:
        'How the prompt is read: exact; predicted (early first token); refined (early first token, exact soon after); auto (refined where the predictor is confident).',
    }),
    verify: z.boolean().nullish().openapi({
      description:
        'Corrects an answer of refined or auto prefill some of whose tokens exact prefill would not have given. A stream reports the correction before its usage: in `foretoken.correction`, or as the event foretoken.correction. Default: true without a stream, false in one; `usage.foretoken.verified` tells in either case.',
    }),
    chunks: z.literal('auto').nullish().openapi({
      description:
        '`auto`: paragraphs of 24 tokens and more that come again in other prompts, in any order, are chunks without marks; their K and V are kept when they come a second time. Prefill is then `refined` unless `prefill` says otherwise. Default: only marked parts are chunks.',
    }),
    progress: z
      .boolean()
      .nullish()
      .openapi({ description: 'Streams report how much of the prompt has been read, in `foretoken.progress`.' }),
    top_k: topK.nullish(),
    min_p: minP.nullish(),
    repetition_penalty: repetitionPenalty.nullish(),
    ignore_eos: z.boolean().nullish(),
    raw_logprobs: z.boolean().nullish().openapi({
      description:
        'Whether log-probabilities are those of the model’s own distribution where a guide or tools leave tokens out. Default false: of the tokens that fit.',
    }),
    tool_format: z.enum(toolFormatNames).nullish().openapi({
      description: 'How calls of tools are written. Default: as the model’s chat template shows.',
    }),
  })
  .openapi('ForetokenExtension')

export const stop = z.union([z.string().min(1).max(200), z.array(z.string().min(1).max(200)).max(16)])

/** Maximum number of entries of a field, enforced while the body arrives, before it is parsed. */
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

export const modelName = z
  .string()
  .min(1)
  .max(300)
  // Not a regex: an OpenAPI pattern has no `u` flag.
  .refine((name) => !/\p{Cc}/u.test(name), 'a name must not have control characters')

const tokenId = z.number().int().min(0).max(10_000_000)

/** Fields of every request for an answer. */
export const sampling = {
  model: modelName,
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
    description: 'Any 64-bit integer; the same seed samples the same tokens, here and on the command line.',
  }),
  stop: stop.nullish(),
  stop_token_ids: z
    .array(tokenId)
    .max(1024)
    .nullish()
    .openapi({ description: 'Tokens that end the answer, in addition to the model’s own.' }),
  min_tokens: z
    .number()
    .int()
    .min(0)
    .nullish()
    .openapi({ description: 'Tokens that would end the answer are not sampled before it has this many.' }),
  ignore_eos: z.boolean().nullish().openapi({ description: 'Continues past the model’s end-of-turn tokens.' }),
  stream: z.boolean().nullish(),
  foretoken: extension.nullish(),
  user: harmless('it is ignored'),
  safety_identifier: harmless('it is ignored'),
  prompt_cache_key: harmless('prefixes are cached by their tokens, per tenant'),
  prompt_cache_retention: harmless('the prefix cache applies its own policy'),
  prompt_cache_options: harmless('the prefix cache applies its own policy'),
  cache_prompt: harmless('prefixes are always cached'),
  metadata: harmless('nothing is stored'),
  store: only(z.literal(false, unsupported), 'Nothing is stored.'),
  service_tier: harmless('there is only one tier'),
  skip_special_tokens: harmless('answers never contain the text of special tokens'),
  spaces_between_special_tokens: harmless('answers never contain the text of special tokens'),
  moderation: refused('there is no moderation'),
  ...guided,
  logits_processors: refused('custom logits processors are not supported'),
  use_beam_search: refused('there is no beam search'),
  truncate_prompt_tokens: only(
    z.literal(-1, unsupported),
    'Refused; a prompt that is too long is refused, not truncated',
  ),
  prompt_logprobs: only(z.literal(0, unsupported), 'Refused; prompts are not scored'),
  images: refused('text is the only kind of content'),
  lora: refused('adapters are not supported'),
}

/** Fields of chat and text completions that responses lack. */
export const choosing = {
  n: z.number().int().min(1).max(128).nullish(),
  stream_options: z
    .object({
      include_usage: z.boolean().nullish(),
      include_obfuscation: harmless('streams are not padded'),
    })
    .nullish(),
}

/** How much a model should think. */
export const effort = z.string().max(40).nullish().openapi({
  description: '`none` turns thinking off where the chat template can; other values reach a template that reads them.',
})

/** Fields of chats and responses that control the chat template. */
export const templating = {
  chat_template_kwargs: z
    .record(z.string().max(100), z.unknown())
    .nullish()
    .openapi({ description: 'Variables for the chat template, such as `enable_thinking`.' }),
  add_generation_prompt: z
    .boolean()
    .nullish()
    .openapi({ description: 'Whether the prompt ends with the header of the assistant’s turn. Default true.' }),
  continue_final_message: z
    .boolean()
    .nullish()
    .openapi({ description: 'Whether the last message is an unfinished answer, which the model continues.' }),
  reasoning_format: z
    .enum(['auto', 'none', 'deepseek'])
    .nullish()
    .openapi({ description: '`none` leaves the thoughts of a reasoning model in its text.' }),
  chat_template: refused('only the model’s own template is used'),
  documents: refused('put their text into messages'),
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

/** How an answer was computed. */
export const report = z
  .object({
    prefill: z.enum(['exact', 'predicted', 'refined']),
    prefill_share: z.number(),
    placed_tokens: z.number().int().optional().openapi({
      description: 'Tokens of the prompt whose K and V are those of chunks that earlier prompts had at other places.',
    }),
    exact_from: z.number().int().optional(),
    verified: z
      .union([z.literal(true), z.number().int().min(0)])
      .optional()
      .openapi({
        description:
          'Of refined and auto prefill: true if every token is one that exact prefill gives, else the index of the first that was not; from there on the answer was corrected if `verify` was on.',
      }),
    timings: z.object({
      template_ms: milliseconds,
      tokenize_ms: milliseconds,
      queue_ms: milliseconds,
      cache_ms: milliseconds,
      prefill_ms: milliseconds,
      sample_ms: milliseconds,
      ttft_ms: milliseconds,
      decode_tokens_per_s: z.number(),
      forced_tokens: z.number().int().optional(),
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
