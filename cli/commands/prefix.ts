/**
 * `foretoken prefix save|load FILE`: saves the keys and values of a prompt's beginning, or of texts
 * that come again in prompts, or checks a file.
 */
import type { Engine } from '../../node/index.ts'
import { chunkTexts } from '../chunks.ts'
import type { Flags } from '../flags.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { loadSaved, openSaved, savedBytes } from '../saved.ts'
import { open, writeWhole } from '../session.ts'
import { note, print, size } from '../terminal.ts'
import { readPrompt } from '../text.ts'

export async function prefix({ flags, operands }: Invocation, signal: AbortSignal): Promise<void> {
  const [action, path, ...texts] = operands
  const takesTexts = action === 'save' && flags.chunks
  if ((action !== 'save' && action !== 'load') || path === undefined || (texts.length > 0 && !takesTexts))
    throw new UsageError('prefix takes save FILE, save --chunks FILE TEXT..., or load FILE')
  if (action === 'load' && flags.chunks)
    throw new UsageError('prefix load finds out what a file is; leave --chunks out')
  if (takesTexts && texts.length === 0)
    throw new UsageError('prefix save --chunks FILE needs the files of the texts after it: --chunks FILE a.txt b.txt')
  if (takesTexts) await checkReplaced(path)
  const file = action === 'load' ? await openSaved(path) : undefined
  const chunks = takesTexts ? await chunkTexts(texts) : undefined
  const { model, engine } = await open(flags, signal, { chunkBytes: Number.MAX_SAFE_INTEGER })
  try {
    const made = file ? undefined : chunks ? await engine.saveChunks(chunks) : await save(engine, flags)
    // Loads a file that was just made as well, so that an unusable one fails here.
    const saved = made ? savedBytes(path, made, chunks ? 'chunks' : 'prefix') : file!
    const loaded = await loadSaved(engine, saved)
    if (made) await writeWhole(path, made)
    const bytes = saved.source.size
    if (flags.json) print(JSON.stringify({ model, file: path, ...loaded, bytes }))
    else {
      const use = path === '-' ? '' : `. Use it with --prefix ${path}`
      const place = path !== '-' ? path : action === 'save' ? 'stdout' : 'stdin'
      const what = `${loaded.chunks === undefined ? '' : `${loaded.chunks} chunks, `}${loaded.tokens} tokens`
      note(`${place}: ${what} of ${model}, ${size(bytes)}${use}`)
    }
  } finally {
    await file?.close()
    await engine.close()
  }
}

function save(engine: Engine, flags: Flags): Promise<Uint8Array> {
  const text = flags['prompt-file']
  if ((text === undefined) === (flags.system === undefined))
    throw new UsageError('prefix save needs either --system TEXT or --prompt-file FILE, or --chunks FILE TEXT...')
  return flags.system === undefined
    ? readPrompt(text!).then((opening) => engine.savePrefix(opening))
    : engine.savePrefix([{ role: 'system', content: flags.system }])
}

/** Throws `UsageError` if a file is there that is not one of ours: the first text, if FILE was forgotten. */
async function checkReplaced(path: string): Promise<void> {
  if (path === '-') return
  const there = await openSaved(path).catch(() => undefined)
  await there?.close()
  if (there?.kind === 'other' && there.source.size > 0)
    throw new UsageError(`${path} is there, and is not a file of prefix save; name the file to write before the texts`)
}
