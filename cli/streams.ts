/**
 * Decides what `-` means in place of a file: stdin for a file that is read, stdout for one that is
 * written, or an error if it can be neither.
 */
import { type Command, type FlagName, flagsOf } from './flags.ts'
import { type Invocation, UsageError } from './parse.ts'
import { reserveStdout } from './terminal.ts'

type Stream = 'stdin' | 'stdout'

/** A stream, or the reason against one, which completes a sentence that begins with the flag. */
type Meaning = Stream | { readonly refused: string }

const folder = { refused: 'takes a folder' }
const anyPlace = { refused: 'takes a file with random access, which a pipe does not have' }

/** The meaning of `-` as the value of each flag that takes a file. */
const flagMeanings: Partial<Record<FlagName, (command: Command, kind: string | undefined) => Meaning>> = {
  'prompt-file': () => 'stdin',
  file: () => 'stdin',
  config: () => 'stdin',
  chunk: () => 'stdin',
  prefix: (command) => (command === 'serve' || command === 'deploy-prep' ? anyPlace : 'stdin'),
  dataset: () => 'stdin',
  grammar: () => 'stdin',
  'json-schema': () => 'stdin',
  data: (command) => (command === 'fit' ? 'stdin' : folder),
  out: (command) => (command === 'deploy-prep' ? folder : 'stdout'),
  plot: (_, kind) => (kind === 'ttft' || kind === 'report' ? folder : 'stdout'),
  model: () => anyPlace,
  base: () => anyPlace,
  aux: () => anyPlace,
  reader: () => anyPlace,
  predictor: () => anyPlace,
  against: () => folder,
  resume: () => ({ refused: 'takes a file that is read and then written' }),
}

/** Returns the meaning of `-` as the operand at `index`. */
function operandMeaning(command: Command, operands: readonly string[], index: number): Meaning | undefined {
  if (command === 'run' || command === 'tokenize' || command === 'embed')
    return operands.length === 1 ? 'stdin' : undefined
  if (command === 'batch') return (['stdin', 'stdout'] as const)[index]
  if (command === 'prefix' && index > 1) return 'stdin'
  if (command === 'prefix' && index === 1) return operands[0] === 'save' ? 'stdout' : 'stdin'
  if (command === 'bench' && index === 1) return operands[0] === 'replay' ? 'stdin' : folder
  return command === 'inspect' ? anyPlace : undefined
}

export interface StreamUse {
  readonly stream: Stream
  /** The flag or operand that selects the stream, for messages. */
  readonly by: string
}

/**
 * Lists the uses of stdin and stdout that an invocation asks for. Throws `UsageError` for a `-`
 * that can be neither.
 */
export function streamsOf({ command, flags, operands }: Invocation): StreamUse[] {
  const uses: StreamUse[] = []
  const add = (by: string, meaning: Meaning | undefined) => {
    if (meaning === undefined) return
    if (typeof meaning !== 'string') throw new UsageError(`${by} ${meaning.refused}; "-" is not allowed`)
    uses.push({ stream: meaning, by })
  }
  for (const [name, { value }] of flagsOf(command)) {
    const named = flags[name]
    for (const one of Array.isArray(named) ? named : [named]) {
      if (one === '-') add(`--${name}`, flagMeanings[name]?.(command, operands[0]))
      if (one === '@-' && value === 'text-or-file') add(`--${name} @-`, 'stdin')
    }
  }
  for (const [index, operand] of operands.entries()) {
    if (operand === '-')
      add(operands.length === 1 ? '"-"' : `"-" in place ${index + 1}`, operandMeaning(command, operands, index))
    if (operand === '@-' && (command === 'run' || command === 'tokenize' || command === 'embed')) add('"@-"', 'stdin')
  }
  if (command === 'chat') add('the chat', 'stdin')
  return uses
}

/**
 * Checks that each standard stream has at most one use. If a file goes to stdout, redirects all
 * other output to stderr. Throws `UsageError`.
 */
export function useStreams(invocation: Invocation): void {
  const uses = streamsOf(invocation)
  for (const stream of ['stdin', 'stdout'] as const) {
    const by = uses.filter((use) => use.stream === stream).map((use) => use.by)
    if (stream === 'stdout' && invocation.flags.json && by.length > 0) by.push('--json')
    if (by.length > 1) throw new UsageError(`${stream} can be used only once, but ${by.join(' and ')} would share it`)
    if (stream === 'stdout' && by.length > 0) reserveStdout()
  }
}
