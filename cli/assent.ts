/** Asks before a model is downloaded that nobody asked for by its address, and before its licence applies. */
import { createInterface } from 'node:readline/promises'
import { type CatalogueEntry, catalogue, catalogueKey, defaultModel, ForetokenError, findModel } from '../node/index.ts'
import type { Flags } from './flags.ts'
import { note } from './terminal.ts'

/**
 * Resolves if a model may be downloaded: it is here, it is not one of the catalogue, or the user
 * agrees on the terminal. The default model needs no question. Without a terminal, rejects with
 * `not_found`; and with `bad_argument` if its licence asks for assent that `--accept-license` does
 * not give. `pulls` says that the command is `pull`, whose name is the agreement to a download.
 */
export async function assentTo(model: string, flags: Flags, signal: AbortSignal, pulls = false): Promise<void> {
  const key = catalogueKey(model)
  const entry = key === undefined ? undefined : catalogue[key]
  if (key === undefined || !entry || key === defaultModel || flags.offline || (await findModel(key))) return
  const terminal = Boolean(process.stdin.isTTY && process.stderr.isTTY)
  if (!pulls) {
    const get = `foretoken pull ${key}`
    if (!terminal) throw new ForetokenError('not_found', `${key} is not on this machine; download it first: ${get}`)
    if (!(await agrees(`${key} is not on this machine. Download it from hf:${entry.repo}? [Y/n] `, true, signal)))
      throw new ForetokenError('not_found', `${key} was not downloaded; later: ${get}`)
  }
  await assentToTerms(key, entry, flags, terminal, signal)
}

async function assentToTerms(
  key: string,
  { licence, terms }: CatalogueEntry,
  flags: Flags,
  terminal: boolean,
  signal: AbortSignal,
): Promise<void> {
  if (terms === undefined || flags['accept-license']) return
  const asks = `${key} has the licence ${licence}, which asks for your assent: ${terms}`
  if (!terminal) throw new ForetokenError('bad_argument', `${asks}; read it, and repeat with --accept-license`)
  note(asks)
  if (!(await agrees('Do you accept it? [y/N] ', false, signal)))
    throw new ForetokenError('bad_argument', `${key} was not downloaded, since its licence was not accepted`)
}

/** Asks a question on the terminal; an empty answer means `otherwise`. */
async function agrees(question: string, otherwise: boolean, signal: AbortSignal): Promise<boolean> {
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  try {
    const answer = (await lines.question(question, { signal })).trim().toLowerCase()
    return answer === '' ? otherwise : answer === 'y' || answer === 'yes'
  } catch (cause) {
    throw new ForetokenError('aborted', 'the question was not answered', { cause })
  } finally {
    lines.close()
  }
}
