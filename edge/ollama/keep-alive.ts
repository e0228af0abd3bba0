/** How long a model stays in memory after a request, as Ollama's clients ask. */
import { millisecondsOf } from '../../src/index.ts'
import { z } from '../schemas/common.ts'

export type KeepAlive = string | number | null | undefined

/** The field of a request. */
export const keepAlive = z
  .union([
    z.number(),
    z
      .string()
      .max(64)
      .refine((text) => millisecondsOf(text) !== undefined, 'must be seconds, or a duration such as 10m'),
  ])
  .nullish()
  .openapi({
    description:
      'How long the model stays in memory after its last use, where several are served: seconds or a duration such as `10m`; 0: not at all; negative: until another needs its place.',
  })

/** Returns milliseconds; undefined if the request says nothing, Infinity for a negative time. */
export function idleMsOf({ keep_alive: asked }: { readonly keep_alive?: KeepAlive }): number | undefined {
  if (asked === null || asked === undefined) return undefined
  const ms = typeof asked === 'number' ? asked * 1000 : millisecondsOf(asked)
  return ms !== undefined && ms < 0 ? Number.POSITIVE_INFINITY : ms
}
