/** `POST /v1/completions`: text is continued as it is, without a chat template. */
import { choosing, entries, only, refused, sampling, tokenLimit, unsupported, usage, z } from './common.ts'

/** Checked as one value: by element, as an array's schema does it, a long prompt would take longer to check than to read. */
const ids = z
  .custom<number[]>(isIds, 'must be token ids, whole numbers from 0')
  .openapi({ type: 'array', items: { type: 'integer', minimum: 0 }, minItems: 1 })

export const completionRequest = z
  .object({
    ...sampling,
    ...choosing,
    prompt: z.union([z.string().min(1), z.array(z.string().min(1)).min(1).max(128), ids, z.array(ids).min(1).max(128)]),
    max_tokens: tokenLimit.nullish().openapi({ description: 'Default 16; -1 is no limit but the context.' }),
    logprobs: z.number().int().min(0).max(20).nullish(),
    echo: z.boolean().nullish().openapi({ description: 'The prompt before the answer; not with logprobs.' }),
    suffix: z.string().nullish().openapi({
      description: 'What comes behind the answer: for models that fill in the middle, and a text as the prompt.',
    }),
    add_special_tokens: z
      .boolean()
      .nullish()
      .openapi({ description: 'Whether the prompt begins with the model’s BOS token, if it wants one. Default true.' }),
    parse_special: z
      .boolean()
      .nullish()
      .openapi({ description: 'Whether the text of special tokens in the prompt is read as these. Default true.' }),
    best_of: only(z.literal(1, unsupported), 'Refused; every answer is given'),
    response_format: only(z.object({ type: z.literal('text', unsupported) }), 'Answers are text, not constrained.'),
    tools: refused('tools are not supported'),
  })
  .openapi('CompletionRequest')

/** Ids of one prompt are as many as there are; how many a context holds is looked at later. */
export const completionEntries = { ...entries, prompt: 131_072 }

function isIds(value: unknown): boolean {
  return (
    Array.isArray(value) && value.length > 0 && value.every((id) => Number.isInteger(id) && id >= 0 && id <= 10_000_000)
  )
}

export type CompletionRequest = z.output<typeof completionRequest>

export const completionResponse = z
  .object({
    id: z.string(),
    object: z.literal('text_completion'),
    created: z.number().int(),
    model: z.string(),
    choices: z.array(
      z.object({
        index: z.number().int(),
        text: z.string(),
        logprobs: z
          .object({
            tokens: z.array(z.string()),
            token_logprobs: z.array(z.number()),
            top_logprobs: z.array(z.record(z.string(), z.number())).nullable(),
            text_offset: z.array(z.number().int()),
          })
          .nullable(),
        finish_reason: z.enum(['stop', 'length']),
      }),
    ),
    usage,
  })
  .openapi('Completion')
