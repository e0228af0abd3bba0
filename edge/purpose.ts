/** What a model is for, and the words that refuse another use: for the server and the command line. */
import { type ModelArchive, specOf, type TextService } from '../src/index.ts'

export type Purpose = 'answers' | 'embeddings' | 'ranking'

/** What a model's header tells of its uses. */
export type ModelHeader = Pick<ModelArchive, 'name' | 'config' | 'embedding'>

/** Why a model does not answer, after its name. */
export const noAnswers = {
  embeddings: 'makes embeddings and no answers',
  ranking: 'is a reranker, which answers nothing',
} as const

/** Returns false if a model's tokens see those behind them, so that it has no scores of a next token. */
export function givesScores({ config }: Pick<ModelHeader, 'config'>): boolean {
  return !specOf(config).layers.some(({ attention }) => attention.bothWays)
}

/**
 * Returns what a model was trained for. One of embeddings or to rank may still give scores of next tokens,
 * which mean nothing as an answer.
 */
export function purposeOf(header: ModelHeader): Purpose {
  return givesScores(header) ? trainedFor(header) : 'embeddings'
}

/** Returns the same of a loaded model. */
export function purposeOfEngine({ answers, archive }: Pick<TextService, 'answers' | 'archive'>): Purpose {
  return answers === false ? 'embeddings' : trainedFor(archive)
}

function trainedFor({ embedding }: Pick<ModelHeader, 'embedding'>): Purpose {
  if (embedding?.ranks) return 'ranking'
  return embedding?.pooling ? 'embeddings' : 'answers'
}
