/** Answers `POST /api/embed`. */
import type { Computation } from '../compute.ts'
import { embeddings as openai, vectorJson } from '../endpoints/embeddings.ts'
import { inTurns } from '../json.ts'
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
    const made = await openai.vectors({ model, input, dimensions }, context, options)
    const embeddings = await inTurns(made.vectors, vectorJson, options.signal, 8)
    const rest: Omit<EmbedResponse, 'model' | 'embeddings'> = {
      total_duration: nanoseconds(performance.now() - begun + context.loadMs),
      load_duration: nanoseconds(context.loadMs),
      prompt_eval_count: made.total,
    }
    const head = `{"model":${JSON.stringify(model)},"embeddings":[${embeddings.join(',')}]`
    return { body: `${head},${JSON.stringify(rest).slice(1)}`, tokens: made.total }
  },
}

function nanoseconds(ms: number): number {
  return Math.round(ms * 1e6)
}
