/** `foretoken tokenize`: prints the token ids of a text, without reading weights. */
import { defaultModel, modelFiles, openModel } from '../../node/index.ts'
import { createTokenizer } from '../../src/tokens/tokenizer.ts'
import { assentTo } from '../assent.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { ignoring, pulling } from '../session.ts'
import { print, warn } from '../terminal.ts'
import { readPrompt } from '../text.ts'
import { textOfOperands } from '../text-argument.ts'
import { checkIgnored } from '../uses.ts'

export async function tokenize({ flags, operands }: Invocation, signal: AbortSignal): Promise<void> {
  const text = await textOf(flags.file, operands)
  await assentTo(flags.model ?? defaultModel, flags, signal)
  const { options, end } = pulling(flags, signal)
  const files = await modelFiles(flags.model ?? defaultModel, options).finally(end)
  try {
    const archive = await openModel(files, ignoring(flags))
    checkIgnored(archive)
    warn(archive)
    const { tokenizer } = archive
    const ids = createTokenizer(tokenizer).encode(text, { special: flags.special ?? false })
    print(flags.json ? JSON.stringify({ ids }) : ids.join(' '))
  } finally {
    await files.close()
  }
}

async function textOf(file: string | undefined, operands: readonly string[]): Promise<string> {
  if (file !== undefined && operands.length > 0) throw new UsageError('use either a text or --file, not both')
  if (file !== undefined) return readPrompt(file)
  if (operands.length > 0) return textOfOperands(operands)
  if (!process.stdin.isTTY) return readPrompt('-')
  throw new UsageError('tokenize needs a text or --file FILE')
}
