/** Answers `POST /v1/rerank`. */
import type { Computation } from '../compute.ts'
import { ApiError } from '../errors.ts'
import { jsonOf } from '../json.ts'
import { type RerankRequest, rerankRequest } from '../schemas/rerank.ts'

export const rerank: Computation<typeof rerankRequest> = {
  form: 'rerank',
  schema: rerankRequest,
  entries: ({ limits }) => ({ documents: limits.texts }),
  texts: (body) => {
    const documents = textsOf(body)
    // Each document is read after the query, which is cached and costs less; its text counts in full.
    return { param: 'documents', list: [body.query, ...documents] }
  },
  async run(body, { engine, model }, { tenant, signal }) {
    if (!engine.rerank)
      throw new ApiError(
        400,
        `${model} runs in ONNX Runtime, which ranks no documents here; serve a reranker as a GGUF or a folder`,
        {
          code: 'unsupported_value',
          param: 'model',
        },
      )
    const documents = textsOf(body)
    const { instruction, top_n: most = documents.length, return_documents: shown } = body
    const options = { ...(instruction && { instruction }), tenant, signal }
    const { scores, tokens } = await engine.rerank(body.query, documents, options)
    const results = scores
      .map((score, index) => ({
        index,
        relevance_score: score,
        ...(shown && { document: { text: documents[index] ?? '' } }),
      }))
      .sort((a, b) => b.relevance_score - a.relevance_score || a.index - b.index)
      .slice(0, most ?? documents.length)
    const total = tokens.reduce((sum, count) => sum + count, 0)
    const usage = { prompt_tokens: total, total_tokens: total }
    return { body: await jsonOf({ object: 'list', model, results, usage }, signal), tokens: total }
  },
}

function textsOf({ documents }: RerankRequest): string[] {
  return documents.map((one) => (typeof one === 'string' ? one : one.text))
}
