/** `foretoken tokenize`: a text's token ids, no weights read. */
import { defaultModel, modelFiles, openModel } from '../../node/index.ts'
import { createTokenizer } from '../../src/tokens/tokenizer.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { pulling, readText } from '../session.ts'
import { print, readStdin } from '../terminal.ts'

export async function tokenize({ flags, operands }: Invocation, signal: AbortSignal): Promise<void> {
  const text = await textOf(flags.file, operands)
  const { options, end } = pulling(flags, signal)
  const files = await modelFiles(flags.model ?? defaultModel, options).finally(end)
  try {
    const { tokenizer } = await openModel(files)
    const ids = createTokenizer(tokenizer).encode(text, { special: flags.special ?? false })
    print(flags.json ? JSON.stringify({ ids }) : ids.join(' '))
  } finally {
    await files.close()
  }
}

async function textOf(file: string | undefined, operands: readonly string[]): Promise<string> {
  if (file !== undefined && operands.length > 0) throw new UsageError('give a text or --file, not both')
  if (file !== undefined && file !== '-') return readText(file)
  if (operands.length > 0 && operands[0] !== '-') return operands.join(' ')
  if (file === '-' || operands.length > 0 || !process.stdin.isTTY) return readStdin()
  throw new UsageError('tokenize needs a text, or --file F')
}
