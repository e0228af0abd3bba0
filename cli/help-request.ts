/** Recognizes requests for help or the version in any common form, and mistyped commands. */
import { type Command, commands } from './flags.ts'
import { nearest, UsageError } from './parse.ts'

export type Asked =
  | { readonly about: 'version' | 'everything' }
  | { readonly about: 'command'; readonly command: Command }

/** Commands whose operands are free text, in which `help` is an ordinary word. */
const takesText: readonly Command[] = ['run', 'tokenize']

const isCommand = (word: string | undefined): word is Command => word !== undefined && Object.hasOwn(commands, word)

/** Words that `foretoken` answers without running a command. */
const questions = ['help', 'version'] as const

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

/** Names that other programs use for a command. */
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
  check: 'doctor',
  diagnose: 'doctor',
}

/**
 * Refuses a prompt that looks like a mistyped command: one word, or a word and the name of a model
 * or a command. Throws `UsageError`, whose message says how to send the prompt anyway.
 */
export function checkPrompt(args: readonly string[], operands: readonly string[]): void {
  const [word, name] = operands
  if (word === undefined || args[0] !== word || operands.length > 2 || !/^[a-z][a-z-]*$/.test(word)) return
  const near = nearestWord(word)
  if (near === undefined) return
  const namesModel = name === undefined || /[\d/.:]/.test(name)
  if (!namesModel && !(isQuestion(near) && isCommand(name))) return
  const meant = isQuestion(near) && isCommand(name) ? `${near} ${name}` : near
  throw new UsageError(
    `no command \`${word}\`; did you mean \`${meant}\`? To send it as a prompt: \`foretoken run ${operands.join(' ')}\``,
  )
}

function nearBy(word: string): string {
  const near = nearestWord(word)
  return near === undefined ? '' : `; did you mean \`${near}\`?`
}

function nearestWord(word: string): Command | (typeof questions)[number] | undefined {
  if (Object.hasOwn(synonyms, word)) return synonyms[word]
  return nearest(word, [...(Object.keys(commands) as Command[]), ...questions])
}

function isQuestion(word: string): word is (typeof questions)[number] {
  return (questions as readonly string[]).includes(word)
}

function isHelp(word: string): boolean {
  return word === '--help' || word === '-h'
}
