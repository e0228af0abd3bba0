/** Reads texts of the command line: literal, or from a file if written as `@FILE`. */
import { ForetokenError } from '../node/index.ts'
import { type FlagName, flagsOf } from './flags.ts'
import { type Invocation, UsageError } from './parse.ts'
import { readPrompt } from './text.ts'

/**
 * Reads a text argument: `@FILE` is the text of a file, `@-` is stdin, `@@` begins a text with a
 * single @, and anything else is the text itself. Throws `UsageError`, and the errors of
 * `readPrompt`.
 */
export async function textOfArgument(argument: string): Promise<string> {
  if (!argument.startsWith('@')) return argument
  const escaped = `to begin a text with @, write @@`
  if (argument.startsWith('@@')) return argument.slice(1)
  const path = argument.slice(1)
  if (path === '') throw new UsageError(`@ must be followed by the name of a file; ${escaped}`)
  try {
    return await readPrompt(path)
  } catch (error) {
    if (!(error instanceof ForetokenError) || error.code !== 'not_found') throw error
    throw new ForetokenError('not_found', `${error.message}; ${escaped}`, { cause: error })
  }
}

/**
 * Joins the operands of a command that takes a text: words with spaces, and the text of a file on
 * separate lines. A single `-` is stdin. Throws the errors of `textOfArgument`.
 */
export async function textOfOperands(operands: readonly string[]): Promise<string> {
  if (operands.length === 1 && operands[0] === '-') return readPrompt('-')
  let text = ''
  for (const [index, operand] of operands.entries()) {
    const between = isFile(operand) || isFile(operands[index - 1] ?? '') ? '\n' : ' '
    text += (index > 0 ? between : '') + (await textOfArgument(operand))
  }
  return text
}

/**
 * Replaces every `@FILE` among the flags with the file's text. Throws the errors of
 * `textOfArgument`.
 */
export async function withTextArguments(invocation: Invocation): Promise<Invocation> {
  const flags: Record<string, unknown> = { ...invocation.flags }
  for (const [name, { value }] of flagsOf(invocation.command)) {
    const text = invocation.flags[name as FlagName]
    if (value === 'text-or-file' && typeof text === 'string') flags[name] = await textOfArgument(text)
  }
  return { ...invocation, flags }
}

function isFile(operand: string): boolean {
  return operand.startsWith('@') && !operand.startsWith('@@')
}
