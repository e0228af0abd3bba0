/** `POST /v1/embeddings`: makes a vector of each text. */
import { harmless, modelName, only, refused, unsupported, z } from './common.ts'
import { textsOrIds } from './inputs.ts'

export const embeddingsRequest = z
  .object({
    model: modelName,
    input: textsOrIds(
      Number.POSITIVE_INFINITY,
      'A text, several, or the token ids of one or of several; ids are used as they are.',
    ),
    dimensions: z
      .number()
      .int()
      .min(1)
      .nullish()
      .openapi({ description: 'Keeps the first numbers of each vector and scales it again; at most the model’s.' }),
    encoding_format: z.enum(['float', 'base64']).nullish().openapi({
      description: 'Numbers as JSON, or the bytes of little-endian 32-bit floats in base64. Default float.',
    }),
    input_type: z.string().min(1).max(100).nullish().openapi({
      description: '`query`, `document` or another name of a prompt of the model, which is put before each text.',
    }),
    prefix: z
      .string()
      .nullish()
      .openapi({ description: 'A text to put before each text, in place of the model’s own prompt.' }),
    pooling: z
      .enum(['last', 'mean', 'cls'])
      .nullish()
      .openapi({ description: 'How states become a vector, in place of the model’s own way.' }),
    normalize: z
      .boolean()
      .nullish()
      .openapi({ description: 'Whether vectors are scaled to length 1. Default: as the model’s files say.' }),
    user: harmless('it is ignored'),
    truncate: refused('a text that is too long is refused, not truncated'),
    truncate_prompt_tokens: only(
      z.literal(-1, unsupported),
      'Refused; a text that is too long is refused, not truncated',
    ),
    add_special_tokens: only(
      z.literal(true, unsupported),
      'Refused; texts get the tokens that the model puts around them',
    ),
  })
  .openapi('EmbeddingRequest')

export type EmbeddingsRequest = z.output<typeof embeddingsRequest>

/** Token counts of a request without an answer of tokens. */
export const textUsage = z
  .object({ prompt_tokens: z.number().int(), total_tokens: z.number().int() })
  .openapi('TextUsage')

export const embeddingsResponse = z
  .object({
    object: z.literal('list'),
    data: z.array(
      z.object({
        object: z.literal('embedding'),
        index: z.number().int(),
        embedding: z.union([z.array(z.number()), z.string()]),
      }),
    ),
    model: z.string(),
    usage: textUsage,
  })
  .openapi('EmbeddingList')
