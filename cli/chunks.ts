/** Texts that come again in prompts, as parts of a message. */
import { type ChatMessage, ForetokenError, type TextPart } from '../node/index.ts'
import { readPrompt } from './text.ts'

/** Returns the texts of files as marked parts, each before an empty line. Throws the errors of `readPrompt`. */
export async function chunkParts(paths: readonly string[] = []): Promise<TextPart[]> {
  const parts: TextPart[] = []
  for (const text of await chunkTexts(paths))
    parts.push({ type: 'text', text, chunk: true }, { type: 'text', text: '\n\n' })
  return parts
}

/** Returns the content of a question: parts that come before it, or the text alone. */
export function questionAfter(parts: readonly TextPart[], text: string): Pick<ChatMessage, 'content'> {
  return { content: parts.length > 0 ? [...parts, { type: 'text', text }] : text }
}

/** Returns the texts of files. Throws the errors of `readPrompt`, and `bad_argument` for an empty one. */
export async function chunkTexts(paths: readonly string[]): Promise<string[]> {
  const texts: string[] = []
  for (const path of paths) {
    const text = await readPrompt(path)
    if (text.trim() === '') throw new ForetokenError('bad_argument', `${path === '-' ? 'stdin' : path} is empty`)
    texts.push(text)
  }
  return texts
}
