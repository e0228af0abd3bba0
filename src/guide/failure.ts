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

/** The engine's own words name an option that nobody can set here. */
const oneOfAdvice =
  'oneOf is supported where its alternatives exclude each other, by their types or a property with a const; use anyOf'

/** Names a guide of a kind, or the tool whose schema is a part of one. */
export function subjectOf(kind: string, tool?: string): string {
  return tool === undefined ? `the guide (${kind})` : `the parameters of the tool ${tool}`
}

/** Returns the failure of a guide of this kind, or of a tool's schema in it, with the path into the schema. */
export function guideFailure(kind: string, error: unknown, tool?: string): ForetokenError {
  const code = codeOf(error)
  if (code === undefined) return asForetokenError(error)
  const { message, path } = error as { readonly message: string; readonly path?: unknown }
  const where = typeof path === 'string' ? ` at ${path === '' ? 'the root of the schema' : path.slice(0, longest)}` : ''
  const plain = message.startsWith('oneOf constraints') ? oneOfAdvice : message
  const text = plain.length > longest ? `${plain.slice(0, longest)} ...` : plain
  return new ForetokenError(
    code === 'unsupported' ? 'unsupported' : 'bad_argument',
    `${subjectOf(kind, tool)}${where}: ${text}`,
    { cause: error, argument: tool === undefined ? 'guide' : 'tools' },
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
