/** The table of all flags, which defines parsing, `--help` and shell completion. */
import type { Seed } from '../node/index.ts'
import type { Command } from './command-names.ts'
import { answerFlags } from './flags/answer.ts'
import { embedFlags } from './flags/embed.ts'
import { engineFlags } from './flags/engine.ts'
import type { Flag } from './flags/flag.ts'
import { makeFlags } from './flags/make.ts'
import { measureFlags } from './flags/measure.ts'
import { outputFlags } from './flags/output.ts'
import { promptFlags } from './flags/prompt.ts'
import { replayFlags } from './flags/replay.ts'
import { serveFlags } from './flags/serve.ts'

export { type Command, commands } from './command-names.ts'
export type { Flag } from './flags/flag.ts'

/** All flags, in the order of the help. */
export const flags = {
  ...promptFlags,
  ...answerFlags,
  ...engineFlags,
  ...measureFlags,
  ...makeFlags,
  ...replayFlags,
  ...serveFlags,
  ...embedFlags,
  ...outputFlags,
} as const satisfies Record<string, Flag>

/** The name of a flag, without its dashes. */
export type FlagName = keyof typeof flags

/** A flag's values are of one kind, but for commands that override it. */
type Value<F> =
  | OwnValue<F>
  | (F extends { by: Record<string, infer By> } ? (By extends { value: unknown } ? OwnValue<By> : never) : never)

type OwnValue<F> = F extends { value: infer V }
  ? V extends 'text' | 'text-or-file' | 'file'
    ? string
    : V extends 'seed'
      ? Seed
      : V extends 'whole' | 'number' | 'duration'
        ? number
        : V extends 'wholes'
          ? number[]
          : V extends 'texts'
            ? string[]
            : V extends readonly (infer S)[]
              ? S
              : never
  : boolean

/** The values of the flags that were given. */
export type Flags = { [N in FlagName]?: Value<(typeof flags)[N]> }

/** Returns the flags of a command, with its overrides applied, in the table's order. */
export function flagsOf(command: Command): [FlagName, Flag][] {
  const all = Object.entries(flags) as [FlagName, Flag][]
  return all
    .filter(([, flag]) => flag.on.includes(command))
    .map(([name, flag]) => [name, { ...flag, ...flag.by?.[command] }])
}
