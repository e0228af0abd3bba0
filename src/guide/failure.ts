/** Translates failures of the grammar engine. */
import { asForetokenError, ForetokenError } from '../base/errors.ts'

/** Code of an error that the instance threw on purpose; undefined for a trap, which ends the instance. */
function codeOf(error: unknown): string | undefined {
  const { name, code } = Object(error) as { readonly name?: unknown; readonly code?: unknown }
  return name === 'GuideError' && typeof code === 'string' ? code : undefined
}

/** Returns true if an error means that the instance can't be used any more. */
export function isTrap(error: unknown): boolean {
  return codeOf(error) === undefined && !(error instanceof ForetokenError)
}

/** Most characters of the engine's message to repeat. It may quote the grammar. */
const longest = 400

/** Returns the failure of a guide of this kind, with the path into its schema. */
export function guideFailure(kind: string, error: unknown): ForetokenError {
  const code = codeOf(error)
  if (code === undefined) return asForetokenError(error)
  const { message, path } = error as { readonly message: string; readonly path?: unknown }
  const where = typeof path === 'string' ? ` at ${path === '' ? 'the root of the schema' : path.slice(0, longest)}` : ''
  const text = message.length > longest ? `${message.slice(0, longest)} ...` : message
  return new ForetokenError(
    code === 'unsupported' ? 'unsupported' : 'bad_argument',
    `the guide (${kind})${where}: ${text}`,
    { cause: error, argument: 'guide' },
  )
}

/** Returns the failure of making an instance, which no grammar is to blame for. */
export function startFailure(error: unknown): ForetokenError {
  const failure = asForetokenError(error, 'internal', 'starting the grammar engine')
  const memory = failure.code === 'internal' && /out of memory|allocat/i.test(failure.message)
  return memory ? new ForetokenError('out_of_memory', failure.message, { cause: error }) : failure
}

/** Returns the failure of a guide that made the instance trap: at once in its compile, twice in an answer. */
export function trapped(kind: string, cause: unknown): ForetokenError {
  return new ForetokenError(
    'bad_argument',
    `the guide (${kind}) is too much for the grammar engine, which stopped; make it smaller or less nested`,
    { cause, argument: 'guide' },
  )
}
