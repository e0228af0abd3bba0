/** Asks before a model is downloaded that nobody asked for by its address. */
import { createInterface } from 'node:readline/promises'
import { catalogue, catalogueKey, defaultModel, ForetokenError, findModel } from '../node/index.ts'
import type { Flags } from './flags.ts'

/**
 * Resolves if a model may be downloaded: it is here, it is not one of the catalogue, or the user
 * agrees on the terminal. The default model needs no question. Without a terminal, rejects with
 * `not_found`. Its licence is another question (licence.ts).
 */
export async function assentTo(model: string, flags: Flags, signal: AbortSignal): Promise<void> {
  const key = catalogueKey(model)
  const entry = key === undefined ? undefined : catalogue[key]
  if (key === undefined || !entry || key === defaultModel || flags.offline || (await findModel(key))) return
  const get = `foretoken pull ${key}`
  if (!process.stdin.isTTY || !process.stderr.isTTY)
    throw new ForetokenError('not_found', `${key} is not on this machine; download it first: ${get}`)
  if (await agrees(`${key} is not on this machine. Download it from hf:${entry.repo}? [Y/n] `, signal)) return
  throw new ForetokenError('not_found', `${key} was not downloaded; later: ${get}`)
}

/** Asks a question on the terminal; an empty answer means yes. */
async function agrees(question: string, signal: AbortSignal): Promise<boolean> {
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return /^(y(es)?)?$/i.test((await lines.question(question, { signal })).trim())
  } catch (cause) {
    throw new ForetokenError('aborted', 'the question was not answered', { cause })
  } finally {
    lines.close()
  }
}
