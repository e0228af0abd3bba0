/** Recognizes requests for help or the version in any common form. */
import type { Command } from './flags.ts'
import { isCommand, isQuestion, nearBy, nearestWord } from './mistyped.ts'
import { UsageError } from './parse.ts'

/** What help was asked for. */
export type Asked =
  | { readonly about: 'version' | 'everything' }
  | { readonly about: 'command'; readonly command: Command }

/** Commands whose operands are free text, in which `help` is an ordinary word. */
const takesText: readonly Command[] = ['run', 'tokenize']

/**
 * Returns the help or version that `args` ask for, or undefined if they ask for neither. Throws
 * `UsageError` for help on an unknown command.
 */
export function helpAskedBy(args: readonly string[]): Asked | undefined {
  const end = args.indexOf('--')
  const words = end < 0 ? args : args.slice(0, end)
  const [first, second, ...more] = words
  if (first === undefined) return undefined
  if (first === 'help') return helpOn(words.slice(1))
  const plain = words.filter((word) => !word.startsWith('-'))
  if (isCommand(first)) {
    const asks = second === 'help' && more.length === 0 && !takesText.includes(first)
    if (asks || words.some(isHelp)) return { about: 'command', command: first }
    return words.includes('--version') ? { about: 'version' } : undefined
  }
  if (words.some(isHelp)) {
    const command = plain.find(isCommand)
    if (command !== undefined) return { about: 'command', command }
    if (plain.length === 1 && plain[0] === first && nearestWord(first) !== undefined) return helpOn(plain)
    // Other flags without a command belong to the default command.
    const alone = words.every((word) => isHelp(word) || word === 'version' || word === '--version')
    return alone ? { about: 'everything' } : { about: 'command', command: 'run' }
  }
  // "version control is" is a prompt.
  const asksVersion = words.includes('--version') || (first === 'version' && plain.length === 1)
  return asksVersion || (words.length === 1 && /^-[vV]$/.test(first)) ? { about: 'version' } : undefined
}

function helpOn(words: readonly string[]): Asked | undefined {
  const topics = words.filter((word) => !word.startsWith('-') && !isQuestion(word))
  if (topics.length === 0) return { about: 'everything' }
  if (isCommand(topics[0]) && topics.length === 1) return { about: 'command', command: topics[0] }
  // "help me with my taxes" is a prompt.
  if (topics.length > 1) return undefined
  throw new UsageError(`no command \`${topics[0]}\`${nearBy(topics[0]!)}; \`foretoken help\` lists them`)
}

function isHelp(word: string): boolean {
  return word === '--help' || word === '-h'
}
