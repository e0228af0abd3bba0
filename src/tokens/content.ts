/**
 * The content of a message is a text, a list of parts, or nothing; a chat template reads one or two of these. Which ones is found by trying:
 * it renders a short conversation of each form, once, and a form counts as read if what was written comes out as it is. To look into the
 * template for a loop over `content`, as others do, fails where it hands the content to a macro, or tests for a form and refuses it.
 */
import { ForetokenError } from '../base/errors.ts'
import type { Given } from './jinja/render.ts'
import type { Origin } from './origin.ts'

export interface Forms {
  /** A content that is a text. */
  readonly text: boolean
  /** A content that is a list of `{type: 'text', text}`. */
  readonly parts: boolean
  /** An answer without content, as one that only calls tools. */
  readonly none: boolean
}

/** A message, marked. */
export type Fields = Readonly<Record<string, Given>>

const needles = ['first needle', 'second needle'] as const

/** `render` makes the text of a conversation, and throws where the template does; `maybeParts`: it may read parts. */
export function formsOf(maybeParts: boolean, render: (messages: readonly Fields[]) => string): Forms {
  const reads = (messages: readonly Fields[]) => {
    try {
      const text = render(messages)
      return needles.every((needle) => text.includes(needle)) && !/None|["']text["']/.test(text)
    } catch {
      return false
    }
  }
  const turns = (form: (text: string) => Given, answer: Given): Fields[] => [
    { role: 'user', content: form(needles[0]) },
    { role: 'assistant', content: answer },
    { role: 'user', content: form(needles[1]) },
  ]
  const asParts = (text: string): Given => [textPart(text)]
  const asText = (text: string): Given => text
  // Each is tried where it is asked for: most templates are only ever given texts.
  let [text, parts, none]: (boolean | undefined)[] = []
  return {
    get parts() {
      parts ??= maybeParts && reads(turns(asParts, asParts('an answer')))
      return parts
    },
    // A template that reads neither is given texts: what it says to them is the best there is to tell.
    get text() {
      text ??= !this.parts || reads(turns(asText, 'an answer'))
      return text
    },
    get none() {
      none ??= reads(turns(this.parts ? asParts : asText, null))
      return none
    },
  }
}

/** The content in a form that the template reads: parts are joined to lines where it takes texts only, as other servers do. */
export function contentFor(forms: () => Forms, content: Given | undefined): Given | undefined {
  if (content === undefined) return undefined
  if (content === null) return forms().none ? null : ''
  if (typeof content === 'string') return forms().text ? content : [textPart(content)]
  return !Array.isArray(content) || forms().parts ? content : textsOf(content).join('\n')
}

/** Types of parts that hold text, by the names of OpenAI's two APIs. */
const textTypes = ['text', 'input_text', 'output_text']

/** A content as the caller gave it, with its texts marked. Throws `unsupported` for parts that are not text. */
export function markedContent(origin: Origin, content: unknown): Given | undefined {
  if (content === undefined || content === null) return content
  if (typeof content === 'string') return origin.mark(content)
  if (!Array.isArray(content))
    throw new ForetokenError('bad_argument', "a message's content is a text, a list of parts, or null")
  return content.map((part: unknown, at) => {
    const { type, text } = typeof part === 'string' ? { type: 'text', text: part } : ((part ?? {}) as Partial<Part>)
    // Names of a part's fields are ours, and what else it has is not for the model.
    if (textTypes.includes(type as string) && typeof text === 'string') return textPart(origin.mark(text))
    throw new ForetokenError(
      'unsupported',
      `part ${at} of a message's content is ${JSON.stringify(type)?.slice(0, 40) ?? 'of no type'}; models here read text`,
    )
  })
}

interface Part {
  readonly type: unknown
  readonly text: unknown
}

function textPart(text: string): Given {
  return new Map([
    ['type', 'text'],
    ['text', text],
  ])
}

function textsOf(parts: readonly Given[]): string[] {
  return parts.map((part) => {
    const text = part instanceof Map ? part.get('text') : undefined
    return typeof text === 'string' ? text : ''
  })
}
