/** What conversations, or texts, that begin alike have in common. */

import type { TokenizerSpec } from '../base/model.ts'
import type { ChatMessage } from '../base/prompt.ts'
import { promptIds } from './prompt.ts'
import type { Tokenizer } from './tokenizer.ts'

/**
 * The ids that every conversation with these first messages begins with, whatever a user says next: those that two
 * conversations share, since a template may render the last message in another way than earlier ones. Of a text,
 * its ids; the last may be others once the text goes on.
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
