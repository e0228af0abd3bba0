/** Recognizes mistyped commands, and those that other programs name differently. */
import { nearest } from '../src/base/nearest.ts'
import { type Command, commands } from './flags.ts'
import { UsageError } from './parse.ts'

/** Returns whether a word is a command. */
export const isCommand = (word: string | undefined): word is Command =>
  word !== undefined && Object.hasOwn(commands, word)

/** Words that `foretoken` answers without running a command. */
const questions = ['help', 'version'] as const

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

/** Returns a question after the command that a word may stand for; empty if none is near. */
export function nearBy(word: string): string {
  const near = nearestWord(word)
  return near === undefined ? '' : `; did you mean \`${near}\`?`
}

/** Returns the command, or the question, that a word may stand for; undefined if none is near. */
export function nearestWord(word: string): Command | (typeof questions)[number] | undefined {
  if (Object.hasOwn(synonyms, word)) return synonyms[word]
  return nearest(word, [...(Object.keys(commands) as Command[]), ...questions])
}

/** Returns whether `foretoken` answers a word without running a command. */
export function isQuestion(word: string): word is (typeof questions)[number] {
  return (questions as readonly string[]).includes(word)
}
