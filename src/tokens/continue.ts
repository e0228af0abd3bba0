/**
 * Continues an answer that has begun: the conversation is rendered with a mark after its last text,
 * and cut there. The mark and the rule about white space are those of transformers'
 * `continue_final_message`.
 */
import { ForetokenError } from '../base/errors.ts'
import type { Fields } from './content-forms.ts'
import type { TemplateInput } from './jinja/render.ts'
import type { Origin } from './origin.ts'

/** The trailing space shows whether the template trims content. */
const mark = 'CONTINUE_FINAL_MESSAGE_TAG '

/**
 * Returns the messages with the mark after the last text, and that text unmarked. Throws
 * `bad_argument` if the last message is not the assistant's or has no text.
 */
export function openedEnd(origin: Origin, messages: readonly Fields[]): { messages: Fields[]; text: string } {
  const last = messages.at(-1)
  if (last?.role !== 'assistant') throw refusal("the last message is not the assistant's")
  const { content } = last
  if (typeof content === 'string')
    return { messages: [...messages.slice(0, -1), { ...last, content: content + mark }], text: origin.plain(content) }
  const parts: readonly TemplateInput[] = Array.isArray(content) ? content : []
  const at = parts.findLastIndex((part) => part instanceof Map && typeof part.get('text') === 'string')
  if (at < 0) throw refusal('the last message has no text')
  const part = parts[at] as ReadonlyMap<string, TemplateInput>
  const text = part.get('text') as string
  const opened = parts.with(at, new Map(part).set('text', text + mark))
  return { messages: [...messages.slice(0, -1), { ...last, content: opened }], text: origin.plain(text) }
}

/**
 * Returns a rendered text up to the mark. Throws `bad_argument` if the template has left out the
 * text or the mark.
 */
export function cutEnd(origin: Origin, rendered: string, text: string): string {
  // If a user wrote the same characters, they are marked as theirs and do not match.
  const at = rendered.lastIndexOf(mark.trim())
  if (at < 0 || !origin.plain(rendered).includes(text.trim()))
    throw refusal("the model's chat template does not show all of the last message")
  const kept = rendered.startsWith(mark, at) ? at : origin.plain(rendered.slice(0, at)).trimEnd().length
  // A template may show the last message in other places as well.
  return rendered.slice(0, kept).replaceAll(mark, '').replaceAll(mark.trim(), '')
}

function refusal(why: string): ForetokenError {
  return new ForetokenError('bad_argument', `there is no answer to continue: ${why}`)
}
