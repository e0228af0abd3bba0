/** Answers `POST /api/embed`. */
import type { Computation } from '../compute.ts'
import { embeddings } from '../endpoints/embeddings.ts'
import { common } from './answers.ts'
import { type EmbedResponse, embedRequest } from './schemas.ts'

export const embed: Computation<typeof embedRequest> = {
  ...common,
  form: 'ollamaEmbed',
  schema: embedRequest,
  entries: (config) => ({ ...common.entries(config), input: config.limits.texts }),
  texts: ({ input }) => ({ param: 'input', list: [input].flat() }),
  async run({ model, input, dimensions }, context, options) {
    const begun = performance.now()
    const made = await embeddings.vectors({ model, input, dimensions }, context, options)
    const body: EmbedResponse = {
      model,
      embeddings: made.vectors.map((vector) => Array.from(vector, (value) => Number(value.toPrecision(9)))),
      total_duration: nanoseconds(performance.now() - begun + context.loadMs),
      load_duration: nanoseconds(context.loadMs),
      prompt_eval_count: made.total,
    }
    return { body: JSON.stringify(body), tokens: made.total }
  },
}

function nanoseconds(ms: number): number {
  return Math.round(ms * 1e6)
}
