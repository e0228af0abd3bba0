/** Ends the refusals of a model's files with the next step, where the reader that refused knows none. */
import { ForetokenError } from '../base/errors.ts'

const advice: Readonly<Record<string, string>> = {
  bad_model: 'correct the file, or get it again',
  not_found: 'get the model again with all of its files',
  unsupported: 'use another model, or another file of this one',
}

/** Finds a step that a message has already: a verb that begins a part of it, or follows "or". */
const step =
  /\b(again|anew|instead)\b|([;:,(]|\bor\b|\band\b) (use|get|take|put|name|merge|convert|correct|keep|load|choose|make|to run)\b/

/** Returns the error with a next step in its message. */
export function withAdvice(error: ForetokenError): ForetokenError {
  const { code, message } = error
  const next = Object.hasOwn(advice, code) ? advice[code] : undefined
  return next === undefined || step.test(message)
    ? error
    : new ForetokenError(code, `${message}; ${next}`, { cause: error })
}
