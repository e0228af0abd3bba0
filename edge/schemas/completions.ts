/** `POST /v1/completions`: continues a text as it is, without a chat template. */
import { choosing, entries, only, refused, sampling, tokenLimit, unsupported, usage, z } from './common.ts'
import { responseFormat } from './guide.ts'
import { textsOrIds } from './inputs.ts'

export const completionRequest = z
  .object({
    ...sampling,
    ...choosing,
    prompt: textsOrIds(128),
    max_tokens: tokenLimit.nullish().openapi({ description: 'Default 16; -1: limited only by the context.' }),
    logprobs: z.number().int().min(0).max(20).nullish(),
    echo: z.boolean().nullish().openapi({ description: 'Returns the prompt before the answer; not with logprobs.' }),
    suffix: z.string().nullish().openapi({
      description: 'The text after the answer; needs a fill-in-the-middle model and a text prompt.',
    }),
    add_special_tokens: z.boolean().nullish().openapi({
      description: 'Whether the prompt begins with the model’s BOS token, if the model uses one. Default true.',
    }),
    parse_special: z
      .boolean()
      .nullish()
      .openapi({ description: 'Whether the text of a special token in the prompt becomes that token. Default true.' }),
    best_of: only(z.literal(1, unsupported), 'Refused; every answer is returned'),
    response_format: responseFormat
      .nullish()
      .openapi({ description: 'The shape of the answer: text, any JSON object, or a JSON schema.' }),
    tools: refused('tools need a chat'),
  })
  .openapi('CompletionRequest')

/** Higher limits for a prompt of token ids; the context is checked later. */
export const completionEntries = { ...entries, prompt: 131_072 }

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
