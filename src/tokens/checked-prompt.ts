/** Prompts as programs hand them in: checked before anything is made of them. */
import { listOf, wrong } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import type { PromptInput } from '../base/prompt.ts'

/** Throws `bad_argument` for what is neither a text, nor token ids, nor messages. */
export function checkPrompt(prompt: unknown): asserts prompt is PromptInput {
  if (typeof prompt === 'string') return
  if (!Array.isArray(prompt)) throw wrong('prompt', 'a text, a list of messages or a list of token ids', prompt)
  const kind = typeof prompt[0]
  for (let at = 0; at < prompt.length; at++) {
    const entry: unknown = prompt[at]
    if (typeof entry !== kind || (kind !== 'number' && (kind !== 'object' || entry === null)))
      throw wrong(`prompt[${at}]`, kind === 'number' ? 'a token id, as those before it' : 'a message', entry)
    if (kind === 'object') checkMessage(`prompt[${at}]`, entry as Readonly<Record<string, unknown>>)
  }
}

function checkMessage(name: string, { role, content }: Readonly<Record<string, unknown>>): void {
  if (typeof role !== 'string')
    throw new ForetokenError('bad_argument', `${name} has no role; give {role: 'user', content: 'text'}`)
  if (content === undefined || content === null || typeof content === 'string') return
  for (const part of listOf<{ readonly text?: unknown } | null>(`${name}.content`, content))
    if (typeof part !== 'object' || typeof part?.text !== 'string')
      throw wrong(`${name}.content`, "a text, or a list of {type: 'text', text: 'text'}", part)
}
