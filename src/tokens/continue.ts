/**
 * An answer that has begun and is to be gone on with: the conversation is rendered with a mark behind its last text, and cut there. The mark
 * and the rule about white space are those of transformers' `continue_final_message`.
 */
import { ForetokenError } from '../base/errors.ts'
import type { Fields } from './content.ts'
import type { Given } from './jinja/render.ts'
import type { Origin } from './origin.ts'

/** The space at its end tells whether the template trims what it is given. */
const mark = 'CONTINUE_FINAL_MESSAGE_TAG '

/** The messages with the mark behind the last text, and that text as it reads. Throws `bad_argument` where there is none. */
export function openedEnd(origin: Origin, messages: readonly Fields[]): { messages: Fields[]; text: string } {
  const last = messages.at(-1)
  if (last?.role !== 'assistant') throw refusal('the last message is not one of the assistant')
  const { content } = last
  if (typeof content === 'string')
    return { messages: [...messages.slice(0, -1), { ...last, content: content + mark }], text: origin.plain(content) }
  const parts: readonly Given[] = Array.isArray(content) ? content : []
  const at = parts.findLastIndex((part) => part instanceof Map && typeof part.get('text') === 'string')
  if (at < 0) throw refusal('the last message has no text')
  const part = parts[at] as ReadonlyMap<string, Given>
  const text = part.get('text') as string
  const opened = parts.with(at, new Map(part).set('text', text + mark))
  return { messages: [...messages.slice(0, -1), { ...last, content: opened }], text: origin.plain(text) }
}

/** A rendered text up to the mark, without it. Throws `bad_argument` where the template has left out the text or the mark. */
export function cutEnd(origin: Origin, rendered: string, text: string): string {
  // Where a person wrote the same, the signs in it are marked as theirs.
  const at = rendered.lastIndexOf(mark.trim())
  if (at < 0 || !origin.plain(rendered).includes(text.trim()))
    throw refusal("the model's chat template does not show all of the last message")
  const kept = rendered.startsWith(mark, at) ? at : origin.plain(rendered.slice(0, at)).trimEnd().length
  // A template may show the last message in other places, too.
  return rendered.slice(0, kept).replaceAll(mark, '').replaceAll(mark.trim(), '')
}

function refusal(why: string): ForetokenError {
  return new ForetokenError('bad_argument', `there is no answer to go on with: ${why}`)
}
