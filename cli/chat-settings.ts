/** What the commands of a chat change: the shape of its answers, and its tools. */
import { type AnyEngine, ForetokenError, type Guide, planAnswer } from '../node/index.ts'
import type { Choice } from '../playground/loop.ts'
import { playgroundTools } from '../playground/tools.ts'
import type { Flags } from './flags.ts'
import { guideOfFlags, schemaGuide } from './guide.ts'
import { UsageError } from './parse.ts'

/** The commands of a chat, with what they do. */
export const chatCommands = {
  '/clear': 'forgets the conversation',
  '/schema FILE|TYPE|off': 'answers in JSON that fits a schema',
  '/tools [auto|required|off]': 'lets the model call a calculator and a clock',
  '/help': 'lists the commands',
  '/exit': 'ends the chat; so does Ctrl-D. Ctrl-C stops an answer',
} as const

export interface ChatSettings {
  /** The shape of every answer. */
  readonly guide?: Guide | undefined
  /** Whether an answer begins with a call; undefined without tools. */
  readonly choice?: Choice | undefined
}

/** Returns the settings that the flags ask for. Throws the errors of `guideOfFlags`. */
export async function settingsOf(flags: Flags): Promise<ChatSettings> {
  const { tools, 'tool-choice': choice } = flags
  if (choice !== undefined && !tools) throw new UsageError('--tool-choice needs --tools')
  return { guide: await guideOfFlags(flags), choice: tools ? (choice ?? 'auto') : undefined }
}

/** Settings after a command, and what to tell. */
interface Changed {
  readonly settings: ChatSettings
  readonly told: string
}

/**
 * Follows `/schema` and `/tools`. Throws `UsageError`, what reading a schema throws, and what the
 * engine throws for settings that it can't follow.
 */
export async function changed(engine: AnyEngine, settings: ChatSettings, line: string): Promise<Changed> {
  const [command, value] = /^(\/\S+)\s*(.*)$/s.exec(line)?.slice(1) ?? []
  const made = command === '/tools' ? toolsChanged(settings, value ?? '') : await schemaChanged(settings, value ?? '')
  await checkSettings(engine, made.settings)
  const hint = command === '/tools' ? untaught(engine, made.settings) : ''
  return { ...made, told: made.told + hint }
}

/** Throws what the engine throws for the settings: before a question is asked. */
export async function checkSettings(engine: AnyEngine, { guide, choice }: ChatSettings): Promise<void> {
  if (guide && 'guides' in engine && engine.guides === undefined)
    throw new ForetokenError('unsupported', 'this model runs without grammars, so its answers have no shape')
  if (choice) planAnswer(engine, { tools: playgroundTools, toolChoice: choice, guide })
  if (guide) await engine.prepare('a', { raw: true, guide })
}

async function schemaChanged(settings: ChatSettings, value: string): Promise<Changed> {
  if (value === 'off') return { settings: { ...settings, guide: undefined }, told: 'answers are text' }
  if (value === '') {
    const now = settings.guide ? 'answers have a shape' : 'answers are text'
    return { settings, told: `${now}; /schema takes a file, a type such as object, or off` }
  }
  if (value === '-') throw new UsageError('/schema can’t read stdin, which is the chat; give it a file')
  return { settings: { ...settings, guide: await schemaGuide(value) }, told: 'answers are JSON that fits the schema' }
}

function toolsChanged(settings: ChatSettings, value: string): Changed {
  const choice = value === '' ? 'auto' : value
  if (choice === 'off') return { settings: { ...settings, choice: undefined }, told: 'no tools' }
  if (choice !== 'auto' && choice !== 'required')
    throw new UsageError(`/tools takes auto, required or off, not "${value.slice(0, 60)}"`)
  const names = playgroundTools.map(({ name }) => name).join(' or ')
  const when = choice === 'auto' ? 'the model may call the' : 'each answer begins with a call of the'
  return { settings: { ...settings, choice }, told: `${when} ${names}` }
}

function untaught(engine: AnyEngine, { choice, guide }: ChatSettings): string {
  if (choice !== 'auto') return ''
  const { format } = planAnswer(engine, { tools: playgroundTools, guide })
  return format === 'generic' ? '; this model was not taught to call tools: /tools required makes it call one' : ''
}
