/** `POST /v1/completions`: text is continued as it is, without a chat template. */
import { choosing, entries, sampling, unsupported, usage, z } from './common.ts'

/** Checked as one value: by element, as an array's schema does it, a long prompt would take longer to check than to read. */
const ids = z
  .custom<number[]>(isIds, 'must be token ids, whole numbers from 0')
  .openapi({ type: 'array', items: { type: 'integer', minimum: 0 }, minItems: 1 })

export const completionRequest = z
  .strictObject({
    ...sampling,
    ...choosing,
    prompt: z.union([z.string().min(1), z.array(z.string().min(1)).min(1).max(128), ids, z.array(ids).min(1).max(128)]),
    max_tokens: z.number().int().min(0).max(1_000_000).nullish().openapi({ description: 'Default 16.' }),
    logprobs: z.number().int().min(0).max(20).nullish(),
    echo: z.boolean().nullish().openapi({ description: 'The prompt before the answer; not with logprobs.' }),
    best_of: z.literal(1, unsupported).nullish(),
    suffix: z.literal('', unsupported).nullish(),
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
