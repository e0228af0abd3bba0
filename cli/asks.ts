/** Questions about the command itself, in the many ways that people ask them: for help, for the version, by a command that is not there. */
import { type Command, commands, flagsOf } from './flags.ts'
import { nearest, UsageError } from './parse.ts'

export type Asked =
  | { readonly about: 'version' | 'everything' }
  | { readonly about: 'command'; readonly command: Command }

/** Commands whose operands are words of the user's own: `help` among them is one of these. */
const takesText: readonly Command[] = ['run', 'tokenize']

const isCommand = (word: string | undefined): word is Command => word !== undefined && Object.hasOwn(commands, word)

/** Returns the help or version that the words ask for, or undefined. Throws `UsageError` for help on a command that is not there. */
export function askedBy(args: readonly string[]): Asked | undefined {
  const end = args.indexOf('--')
  const words = end < 0 ? args : args.slice(0, end)
  const [first, second, ...more] = words
  if (first === undefined) return undefined
  if (words.length === 1 && /^(version|--version|-V|-v)$/.test(first)) return { about: 'version' }
  if (first === 'help') {
    const topics = words.slice(1).filter((word) => !isHelp(word))
    if (topics.length === 0) return { about: 'everything' }
    if (isCommand(topics[0]) && topics.length === 1) return { about: 'command', command: topics[0] }
    // "help me with my taxes" is a prompt.
    if (topics.length > 1) return undefined
    throw new UsageError(`there is no command ${topics[0]}${nearBy(topics[0]!)}; "foretoken help" lists them`)
  }
  if (isCommand(first)) {
    const asks = second === 'help' && more.length === 0 && !takesText.includes(first)
    return asks || hasHelpFlag(first, words.slice(1)) ? { about: 'command', command: first } : undefined
  }
  if (!hasHelpFlag('run', words)) return words.includes('--version') ? { about: 'version' } : undefined
  const command = words.find((word) => isCommand(word))
  if (command !== undefined) return { about: 'command', command: command as Command }
  // With flags of its own it is the default command that is asked about.
  return words.every(isHelp) ? { about: 'everything' } : { about: 'command', command: 'run' }
}

/** What other programs call it. */
const synonyms: Readonly<Record<string, Command>> = {
  list: 'ls',
  models: 'ls',
  remove: 'rm',
  delete: 'rm',
  download: 'pull',
  server: 'serve',
  start: 'serve',
  ask: 'run',
  generate: 'run',
  benchmark: 'bench',
  evaluate: 'eval',
  show: 'inspect',
  info: 'inspect',
}

/**
 * Refuses a prompt that looks like a command that was mistyped: one word, or a word and a model's name. Throws `UsageError`, which
 * says how to ask the model all the same.
 */
export function checkPrompt(args: readonly string[], operands: readonly string[]): void {
  const [word, name] = operands
  if (word === undefined || args[0] !== word || operands.length > 2 || !/^[a-z][a-z-]*$/.test(word)) return
  if (name !== undefined && !/[\d/.:]/.test(name)) return
  const command = Object.hasOwn(synonyms, word) ? synonyms[word] : nearest(word, Object.keys(commands))
  if (command !== undefined)
    throw new UsageError(
      `there is no command ${word}; did you mean ${command}? To ask the model: foretoken run ${operands.join(' ')}`,
    )
}

function nearBy(word: string): string {
  const near = Object.hasOwn(synonyms, word) ? synonyms[word] : nearest(word, Object.keys(commands))
  return near === undefined ? '' : `, the nearest is ${near}`
}

function isHelp(word: string): boolean {
  return word === '--help' || word === '-h'
}

/** Whether `--help` stands among the words where it is not the value of another flag. */
function hasHelpFlag(command: Command, words: readonly string[]): boolean {
  const taking = new Set(
    flagsOf(command).flatMap(([name, { short, value }]) => {
      return value === undefined ? [] : [`--${name}`, ...(short ? [`-${short}`] : [])]
    }),
  )
  return words.some((word, at) => isHelp(word) && !taking.has(words[at - 1] ?? ''))
}
