/** `GET /v1/models` and `GET /v1/models/{model}`. */
import { z } from './common.ts'

export const model = z
  .object({
    id: z.string(),
    object: z.literal('model'),
    created: z.number().int(),
    owned_by: z.string(),
    foretoken: z.object({
      state: z.enum(['unloaded', 'loading', 'loaded', 'unloading', 'failed']),
      error: z.object({ code: z.string(), message: z.string() }).optional().openapi({
        description: 'Why it could not be loaded when it was last asked for; while its state is `failed`.',
      }),
      model: z.string().optional().openapi({ description: 'The model, if `id` is another name of it.' }),
      requests: z.number().int().optional().openapi({ description: 'Requests that use it, where several are served.' }),
      context: z
        .number()
        .int()
        .optional()
        .openapi({ description: 'Tokens of a prompt and its answer; while it is loaded.' }),
      memory_bytes: z.number().int().optional().openapi({ description: 'While it is loaded.' }),
    }),
  })
  .openapi('Model')

export const modelList = z.object({ object: z.literal('list'), data: z.array(model) }).openapi('ModelList')
