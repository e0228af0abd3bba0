/** `GET /v1/models` and `GET /v1/models/{model}`. */
import { z } from './common.ts'

export const model = z
  .object({ id: z.string(), object: z.literal('model'), created: z.number().int(), owned_by: z.string() })
  .openapi('Model')

export const modelList = z.object({ object: z.literal('list'), data: z.array(model) }).openapi('ModelList')
