/** What a flag of the command is. */
import type { Command } from '../command-names.ts'

/** A flag: its value, the commands that have it, and its help. */
export interface Flag {
  readonly short?: string
  /**
   * The kind of value; absent for a switch. `text-or-file` is a text, or `@FILE` for the text of a
   * file.
   */
  readonly value?:
    | 'text'
    | 'text-or-file'
    | 'file'
    | 'whole'
    | 'number'
    | 'seed'
    | 'wholes'
    | 'duration'
    | 'texts'
    | readonly string[]
  readonly min?: number
  readonly max?: number
  /** The value's name in the help, if its kind is not clear enough. */
  readonly name?: string
  readonly on: readonly Command[]
  readonly about: string
  /** Whether a command takes the flag several times; `Invocation.all` has all of its values. */
  readonly many?: boolean
  /** Overrides for single commands; a command's help shows only its own. */
  readonly by?: Partial<Record<Command, Pick<Flag, 'value' | 'name' | 'many'> & { readonly about?: string }>>
}

/** Commands that load an engine. */
export const engineCommands = [
  'run',
  'chat',
  'embed',
  'batch',
  'prefix',
  'fit',
  'eval',
  'serve',
  'companion',
  'bench',
] as const

/** Commands that print answers. */
export const answerCommands = ['run', 'chat', 'batch'] as const
