/** Marks the texts in a message's content. */

import { ForetokenError } from '../base/errors.ts'
import { textPart } from './content-forms.ts'
import type { TemplateInput } from './jinja/render.ts'
import type { Origin } from './origin.ts'

/** Types of parts that hold text, as named by OpenAI's two APIs. */
const textTypes = ['text', 'input_text', 'output_text']

/**
 * Returns the caller's content with its texts marked. Throws `bad_argument` for content of another
 * type, and `unsupported` for parts that are not text.
 */
export function markedContent(origin: Origin, content: unknown): TemplateInput | undefined {
  if (content === undefined || content === null) return content
  if (typeof content === 'string') return origin.mark(content)
  if (!Array.isArray(content))
    throw new ForetokenError('bad_argument', "a message's content must be a text, a list of parts, or null")
  return content.map((part: unknown, at) => {
    const { type, text } = typeof part === 'string' ? { type: 'text', text: part } : ((part ?? {}) as Partial<Part>)
    // The names of a part's fields are fixed, and its other fields are not meant for the model.
    if (textTypes.includes(type as string) && typeof text === 'string') return textPart(origin.mark(text))
    throw new ForetokenError(
      'unsupported',
      `part ${at} of a message's content is ${JSON.stringify(type)?.slice(0, 40) ?? 'of no type'}; only text is supported`,
    )
  })
}

interface Part {
  readonly type: unknown
  readonly text: unknown
}
