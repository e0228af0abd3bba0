/** What the command says once on a machine, and then no more. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { home } from '../node/home.ts'
import { defaultModel } from '../node/index.ts'
import type { Flags } from './flags.ts'
import { note } from './terminal.ts'

/** Says on a terminal, once, that the default model is a small one. */
export async function tellOfLarger(flags: Flags, terminal = Boolean(process.stderr.isTTY)): Promise<void> {
  if (flags.model !== undefined || flags.json || !terminal) return
  if (await firstTime('larger'))
    note(
      `${defaultModel} is small and knows little; larger models answer better: "foretoken ls --available" lists them`,
      'aside',
    )
}

/** Remembers that something was said. Where nothing can be kept it counts as said. */
async function firstTime(what: string): Promise<boolean> {
  try {
    await mkdir(home(), { recursive: true })
    await writeFile(join(home(), `told-${what}`), '', { flag: 'wx' })
    return true
  } catch {
    return false
  }
}
