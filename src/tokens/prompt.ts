/** From what a person wrote to the ids the model sees. */
import { ForetokenError } from '../errors.ts'
import type { Message, TokenizerSpec } from '../types.ts'
import { encodeChat } from './template.ts'
import type { Tokenizer } from './tokenizer.ts'

/**
 * A text to continue (`raw`), or one user message or a conversation through the model's chat template.
 * Throws `empty_prompt`, and `context_exceeded` where no token of `context` is left for an answer.
 */
export function promptIds(
  tokenizer: Tokenizer,
  spec: TokenizerSpec,
  prompt: string | readonly Message[],
  options: { readonly raw: boolean; readonly context: number },
): number[] {
  if (prompt.length === 0)
    throw new ForetokenError('empty_prompt', 'the prompt is empty; give it at least one character')
  if (options.raw && typeof prompt !== 'string')
    throw new ForetokenError('bad_argument', 'a raw prompt is a text, not a list of messages')
  const messages = typeof prompt === 'string' ? [{ role: 'user' as const, content: prompt }] : prompt
  const ids =
    options.raw && typeof prompt === 'string'
      ? tokenizer.encode(prompt, { bos: true })
      : encodeChat(tokenizer, spec, messages)
  if (ids.length === 0)
    throw new ForetokenError('empty_prompt', 'the prompt has no tokens; give it at least one character')
  if (ids.length >= options.context)
    throw new ForetokenError(
      'context_exceeded',
      `the prompt has ${ids.length} tokens and the context ${options.context}; shorten it, or load with a larger context`,
    )
  return ids
}
