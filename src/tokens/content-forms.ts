/**
 * Converts message content to a form that the chat template reads. The content of a message is a
 * text, a list of parts, or absent, and a template reads one or two of these forms. Which ones is
 * found by experiment: a short conversation of each form is rendered once, and a form counts as
 * supported if its texts appear unchanged. Searching the template for a loop over `content`, as
 * other programs do, fails if it passes the content to a macro, or tests for a form in order to
 * refuse it.
 */
import type { TemplateInput } from './jinja/render.ts'

/** The forms of content that a template reads. */
export interface Forms {
  /** Whether a text is read. */
  readonly text: boolean
  /** Whether a list of `{type: 'text', text}` is read. */
  readonly parts: boolean
  /** Whether an answer without content is read, such as one that only calls tools. */
  readonly none: boolean
}

/** A message with marked texts (see origin.ts). */
export type Fields = Readonly<Record<string, TemplateInput>>

const needles = ['first needle', 'second needle'] as const

/**
 * Finds out which forms of content a template reads. `render` renders a conversation and throws if
 * the template does; `maybeParts` is false if the template certainly does not read parts.
 */
export function formsOf(maybeParts: boolean, render: (messages: readonly Fields[]) => string): Forms {
  const reads = (messages: readonly Fields[]) => {
    try {
      const text = render(messages)
      return needles.every((needle) => text.includes(needle)) && !/None|["']text["']/.test(text)
    } catch {
      return false
    }
  }
  const turns = (form: (text: string) => TemplateInput, answer: TemplateInput): Fields[] => [
    { role: 'user', content: form(needles[0]) },
    { role: 'assistant', content: answer },
    { role: 'user', content: form(needles[1]) },
  ]
  const asParts = (text: string): TemplateInput => [textPart(text)]
  const asText = (text: string): TemplateInput => text
  // Each form is tried on first use, since most templates only ever get texts.
  let [text, parts, none]: (boolean | undefined)[] = []
  return {
    get parts() {
      parts ??= maybeParts && reads(turns(asParts, asParts('an answer')))
      return parts
    },
    // A template that reads neither form gets texts: its own error message is then the most helpful
    // one.
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

/**
 * Returns the content in a form that the template reads. If it reads texts only, parts are joined
 * with line breaks, as other servers do.
 */
export function contentFor(forms: () => Forms, content: TemplateInput | undefined): TemplateInput | undefined {
  if (content === undefined) return undefined
  if (content === null) return forms().none ? null : ''
  if (typeof content === 'string') return forms().text ? content : [textPart(content)]
  return !Array.isArray(content) || forms().parts ? content : textsOf(content).join('\n')
}

/** Returns a text as a part of a list. */
export function textPart(text: string): TemplateInput {
  return new Map([
    ['type', 'text'],
    ['text', text],
  ])
}

function textsOf(parts: readonly TemplateInput[]): string[] {
  return parts.map((part) => {
    const text = part instanceof Map ? part.get('text') : undefined
    return typeof text === 'string' ? text : ''
  })
}
