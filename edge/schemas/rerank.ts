/** `POST /v1/rerank`: ranks documents by a query, as Jina’s API and llama.cpp do. */
import { harmless, modelName, only, unsupported, z } from './common.ts'
import { textUsage } from './embeddings.ts'

export const rerankRequest = z
  .object({
    model: modelName,
    query: z.string().min(1),
    documents: z.array(z.union([z.string().min(1), z.object({ text: z.string().min(1) })])).min(1),
    top_n: z.number().int().min(1).nullish().openapi({ description: 'Returns only the best. Default: all.' }),
    return_documents: z
      .boolean()
      .nullish()
      .openapi({ description: 'Whether results have the texts of the documents. Default false.' }),
    instruction: z.string().min(1).nullish().openapi({
      description: 'What makes a document relevant, in a sentence. Default: that it answers a web search.',
    }),
    user: harmless('it is ignored'),
    truncate: only(z.literal(false, unsupported), 'Refused; a document that is too long is refused, not truncated'),
    truncation: only(z.literal(false, unsupported), 'Refused; a document that is too long is refused, not truncated'),
    raw_scores: only(z.literal(false, unsupported), 'Refused; scores are probabilities'),
  })
  .openapi('RerankRequest')

export type RerankRequest = z.output<typeof rerankRequest>

export const rerankResponse = z
  .object({
    object: z.literal('list'),
    model: z.string(),
    results: z.array(
      z.object({
        index: z.number().int(),
        relevance_score: z.number(),
        document: z.object({ text: z.string() }).optional(),
      }),
    ),
    usage: textUsage,
  })
  .openapi('Ranking')
