/** Computes the tokens that conversations, or texts, with the same beginning have in common. */

import type { TokenizerSpec } from '../base/model.ts'
import type { ChatMessage } from '../base/prompt.ts'
import { promptIds } from './prompt.ts'
import type { Tokenizer } from './tokenizer.ts'

/**
 * Returns the ids that every conversation with these first messages begins with, whatever a user
 * says next: those that two such conversations share, since a template may render the last message
 * differently from earlier ones. For a text, returns its ids, of which the last may change once the
 * text goes on. Throws as `promptIds`.
 */
export function openingIds(
  tokenizer: Tokenizer,
  spec: TokenizerSpec,
  opening: string | readonly ChatMessage[],
): readonly number[] {
  if (typeof opening === 'string') return tokenizer.encode(opening, { special: true, bos: true })
  const next = (content: string) =>
    promptIds(tokenizer, spec, [...opening, { role: 'user', content }], { context: Number.POSITIVE_INFINITY })
  const [one, other] = [next('a'), next('7')]
  return one.slice(
    0,
    one.findIndex((id, at) => id !== other[at]),
  )
}
