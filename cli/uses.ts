/** What a command does with a model, and the refusal of a model that cannot do it, by its header. */
import { givesScores, noAnswers, purposeOf } from '../edge/purpose.ts'
import { ForetokenError, type ModelArchive } from '../node/index.ts'

/**
 * `answers` needs scores of next tokens, `chat` answers that mean something: models that were trained
 * for embeddings or to rank may still give some. `any` leaves the choice to the command.
 */
export type Use = 'answers' | 'chat' | 'any'

/** Throws `unsupported` for a model that is not for a use. The message names the command that is. */
export function checkUse(model: string, archive: ModelArchive, use: Use): void {
  if (use === 'any' || (use === 'answers' && givesScores(archive))) return
  const purpose = purposeOf(archive)
  if (purpose === 'embeddings') throw forVectors(model)
  if (purpose === 'ranking')
    throw new ForetokenError(
      'unsupported',
      `${model} ${noAnswers.ranking}: foretoken serve -m ${model}, and POST /v1/rerank`,
    )
}

/** Returns the refusal of a model that makes embeddings. */
export function forVectors(model: string): ForetokenError {
  return new ForetokenError('unsupported', `${model} ${noAnswers.embeddings}: foretoken embed -m ${model} "some text"`)
}

/**
 * Throws `bad_argument` for a name of `--ignore-config` without which the model would be run as well: a
 * mistyped one, or one whose key is not refused and would be missed.
 */
export function checkIgnored({ name, ignored }: Pick<ModelArchive, 'name' | 'ignored'>): void {
  const [needless] = ignored?.needless ?? []
  if (needless === undefined) return
  const { refused = [] } = ignored ?? {}
  const others = refused.length > 0 ? `those that are: ${refused.join(', ')}` : 'it has none that is'
  throw new ForetokenError(
    'bad_argument',
    `--ignore-config ${needless}: ${name} has no key of this name that is refused (${others}); leave it out`,
  )
}
