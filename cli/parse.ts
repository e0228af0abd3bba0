/** Parses arguments into a command, its flags and its operands, with the table in `flags.ts`. */
import { millisecondsOf, nearest, type Seed, seedOf } from '../node/index.ts'
import { type Command, commands, type Flag, type FlagName, type Flags, flagsOf } from './flags.ts'

/** Reports invalid arguments: exit code 2. */
export class UsageError extends Error {}

const commandNames = Object.keys(commands) as Command[]

export interface Invocation {
  readonly command: Command
  readonly flags: Flags
  readonly operands: readonly string[]
  /** All values, as texts, of flags that the command takes several times. */
  readonly all: Partial<Readonly<Record<FlagName, readonly string[]>>>
}

/** Parses the arguments; without a command they belong to `run`. Throws `UsageError`. */
export function parse(args: readonly string[]): Invocation {
  const named = args[0] !== undefined && Object.hasOwn(commands, args[0])
  const command = named ? (args[0] as Command) : 'run'
  const known = new Map<string, Flag>(flagsOf(command))
  const shorts = new Map([...known].flatMap(([name, flag]) => (flag.short ? [[flag.short, name] as const] : [])))
  const values: Record<string, unknown> = {}
  const operands: string[] = []
  const all: Partial<Record<FlagName, string[]>> = {}
  const rest = args.slice(named ? 1 : 0)
  for (let at = 0; at < rest.length; at++) {
    const word = rest[at]!
    if (word === '--') {
      operands.push(...rest.slice(at + 1))
      break
    }
    // `-` is stdin, and a negative number is an operand.
    if (!/^-[^\d]/.test(word)) {
      operands.push(word)
      continue
    }
    const [, dashes, written, , inline] = /^(--?)([^=]*)(=([\s\S]*))?$/.exec(word)!
    const name = dashes === '--' ? written! : (shorts.get(written!) ?? '')
    const flag = known.get(name)
    if (!flag) throw new UsageError(unknown(`${dashes}${written}`, command, known))
    if (flag.value === undefined) {
      if (inline !== undefined) throw new UsageError(`--${name} takes no value`)
      values[name] = true
      continue
    }
    const text = inline ?? rest[++at]
    if (text === undefined) throw new UsageError(`--${name} needs a value: ${flag.about}`)
    if (inline === undefined && looksLikeFlag(text))
      throw new UsageError(
        `\`--${name}\` needs a value; \`${text}\` looks like a flag; write \`--${name}=${text}\` if you mean it`,
      )
    const value = read(name, flag, text)
    if (flag.many) (all[name as FlagName] ??= []).push(text)
    else if (flag.value !== 'texts' && Object.hasOwn(values, name)) throw new UsageError(twice(name, command, text))
    values[name] = flag.value === 'texts' ? [...((values[name] as string[]) ?? []), ...(value as string[])] : value
  }
  return { command, flags: values as Flags, operands, all }
}

/**
 * Returns true for `--word`, `--word=value` and `-x`; false for numbers, dashes alone, and
 * sentences that begin with a dash.
 */
export function looksLikeFlag(text: string): boolean {
  return /^(--[a-z][\w-]*(=[\s\S]*)?|-[a-z])$/i.test(text)
}

function read(name: string, flag: Flag, text: string): unknown {
  if (flag.value === 'texts') return [text]
  if (flag.value === 'text' || flag.value === 'text-or-file' || flag.value === 'file') return text
  if (flag.value === 'seed') return seed(text)
  if (flag.value === 'duration') return duration(name, text)
  if (flag.value === 'whole' || flag.value === 'number') return number(name, flag, text)
  if (flag.value === 'wholes') return text.split(',').map((part) => number(name, flag, part))
  if (flag.value!.includes(text)) return text
  const choices = (flag.value as readonly string[]).join(', ')
  const elsewhere = commandNames.filter((command) =>
    flagsOf(command).some(([other, { value }]) => other === name && Array.isArray(value) && value.includes(text)),
  )
  const hint = elsewhere.length > 0 ? `; ${elsewhere.join(', ')} accepts it` : ''
  throw new UsageError(`--${name} takes one of ${choices}, not "${text}"${hint}`)
}

function seed(text: string): Seed {
  const found = seedOf(text.trim())
  if (found !== undefined) return found
  throw new UsageError(`--seed takes an integer from -2^63 to 2^63 - 1, not "${text}"`)
}

function duration(name: string, text: string): number {
  const found = millisecondsOf(text)
  if (found !== undefined && found >= 0) return found
  throw new UsageError(`--${name} takes a time such as 90s, 10m or 1h30m, not "${text}"`)
}

/**
 * Returns the seed of a command that increments it, 1 by default. Throws `UsageError` above 2^40.
 */
export function startSeed({ seed = 1 }: Flags): number {
  if (typeof seed === 'number' && seed >= 0 && seed < 2 ** 40) return seed
  throw new UsageError(`--seed is ${seed}; this command increments it, so it takes an integer from 0 to 2^40`)
}

function number(name: string, { value, min, max }: Flag, text: string): number {
  const found = Number(text)
  const sound = text.trim() !== '' && Number.isFinite(found) && (value === 'number' || Number.isSafeInteger(found))
  if (sound && found >= (min ?? -Infinity) && found <= (max ?? Infinity)) return found
  const range = max !== undefined ? ` from ${min} to ${max}` : min !== undefined ? `, ${min} or more` : ''
  throw new UsageError(`--${name} takes ${value === 'number' ? 'a number' : 'integers'}${range}, not "${text}"`)
}

/** The last value would win silently, and the others may have been meant. */
function twice(name: string, command: Command, text: string): string {
  const several = commandNames.filter((other) => flagsOf(other).some(([one, { many }]) => one === name && many))
  const hint = several.length > 0 ? `; ${several.join(' and ')} may have several` : ''
  return `${command} takes --${name} once, and it is given again: "${text}"${hint}; leave out one of them`
}

function unknown(word: string, command: Command, known: ReadonlyMap<string, Flag>): string {
  const elsewhere = commandNames.filter((other) => flagsOf(other).some(([name]) => `--${name}` === word))
  const near = nearest(word.replace(/^-+/, ''), [...known.keys()])
  const hint =
    elsewhere.length > 0 ? `; it belongs to ${elsewhere.join(', ')}` : near ? `; the nearest is --${near}` : ''
  return `${command} has no flag ${word}${hint}. "foretoken ${command} --help" lists them`
}
