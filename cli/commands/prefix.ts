/**
 * `foretoken prefix save|load FILE`: saves a prompt beginning's keys and values, or checks a file.
 */
import type { Engine } from '../../node/index.ts'
import type { Flags } from '../flags.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { open, readBytes, writeWhole } from '../session.ts'
import { note, print, size } from '../terminal.ts'
import { readPrompt } from '../text.ts'

export async function prefix({ flags, operands }: Invocation, signal: AbortSignal): Promise<void> {
  const [action, path, ...more] = operands
  if ((action !== 'save' && action !== 'load') || path === undefined || more.length > 0)
    throw new UsageError('prefix takes save FILE or load FILE')
  const file = action === 'load' ? await readBytes(path) : undefined
  const { model, engine } = await open(flags, signal)
  try {
    const bytes = file ?? (await save(engine, path, flags))
    // Loads a file that was just written as well, so that an unusable one fails here.
    const { tokens } = await engine.loadPrefix(bytes)
    if (flags.json) print(JSON.stringify({ model, file: path, tokens, bytes: bytes.length }))
    else {
      const use = path === '-' ? '' : `. Use it with --prefix ${path}`
      const place = path !== '-' ? path : action === 'save' ? 'stdout' : 'stdin'
      note(`${place}: ${tokens} tokens of ${model}, ${size(bytes.length)}${use}`)
    }
  } finally {
    await engine.close()
  }
}

async function save(engine: Engine, path: string, flags: Flags): Promise<Uint8Array> {
  const text = flags['prompt-file']
  if ((text === undefined) === (flags.system === undefined))
    throw new UsageError('prefix save needs either --system TEXT or --prompt-file FILE')
  const opening =
    flags.system === undefined ? await readPrompt(text!) : ([{ role: 'system', content: flags.system }] as const)
  const bytes = await engine.savePrefix(opening)
  await writeWhole(path, bytes)
  return bytes
}
