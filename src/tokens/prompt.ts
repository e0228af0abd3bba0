/** From what a person wrote to the ids the model sees. */
import { ForetokenError } from '../errors.ts'
import type { Message, PromptInput, TokenizerSpec } from '../types.ts'
import { encodeChat } from './template.ts'
import type { Tokenizer } from './tokenizer.ts'

/**
 * The ids of a text to continue (`raw`), of one user message or a conversation through the model's chat template; ids stay as
 * they are. Throws `empty_prompt`, and `context_exceeded` where no token of `context` is left for an answer.
 */
export function promptIds(
  tokenizer: Tokenizer,
  spec: TokenizerSpec,
  prompt: PromptInput,
  options: { readonly raw: boolean; readonly context: number; readonly onTemplate?: (() => void) | undefined },
): number[] {
  const ids = idsOf(tokenizer, spec, prompt, options)
  if (ids.length === 0)
    throw new ForetokenError('empty_prompt', 'the prompt has no tokens; give it at least one character')
  if (ids.length >= options.context)
    throw new ForetokenError(
      'context_exceeded',
      `the prompt has ${ids.length} tokens and the context ${options.context}; shorten it, or load with a larger context`,
    )
  return ids
}

function idsOf(
  tokenizer: Tokenizer,
  spec: TokenizerSpec,
  prompt: PromptInput,
  { raw, onTemplate }: { readonly raw: boolean; readonly onTemplate?: (() => void) | undefined },
): number[] {
  if (prompt.length === 0)
    throw new ForetokenError('empty_prompt', 'the prompt is empty; give it at least one character')
  if (typeof prompt === 'string')
    return raw
      ? tokenizer.encode(prompt, { bos: true })
      : encodeChat(tokenizer, spec, [{ role: 'user', content: prompt }], onTemplate)
  if (isIds(prompt)) return [...prompt]
  if (raw) throw new ForetokenError('bad_argument', 'a raw prompt is a text or token ids, not a list of messages')
  return encodeChat(tokenizer, spec, prompt, onTemplate)
}

function isIds(prompt: readonly Message[] | readonly number[]): prompt is readonly number[] {
  return typeof prompt[0] === 'number'
}
