/** A conversation as the model was taught to read it: the chat template of its tokenizer. */
import { ForetokenError } from '../base/errors.ts'
import type { TokenizerSpec } from '../base/model.ts'
import type { ChatMessage } from '../base/prompt.ts'
import { contentFor, type Fields, type Forms, formsOf, markedContent } from './content.ts'
import { cutEnd, openedEnd } from './continue.ts'
import { type Limits, OverBudget } from './jinja/budget.ts'
import { type Program, parseTemplate } from './jinja/parse.ts'
import { type Given, Refused, renderTemplate } from './jinja/render.ts'
import { Origin } from './origin.ts'

/** Names for the template beside `messages`, as Hugging Face's `apply_chat_template` takes them: `enable_thinking`, `tools`. */
export type TemplateValues = Readonly<Record<string, unknown>>

export interface TemplateOptions {
  readonly values?: TemplateValues | undefined
  /** What rendering may cost. Default: by the length of the conversation. */
  readonly limits?: Limits | undefined
  /** The last message is an answer that has begun: its text is left open, for the model to go on with. Default false. */
  readonly continueFinal?: boolean | undefined
}

/** The text of a conversation, with the beginning of the answer. Throws as `renderChat`. */
export function applyTemplate(
  spec: TokenizerSpec,
  messages: readonly ChatMessage[],
  options: TemplateOptions = {},
): string {
  const origin = new Origin([])
  return origin.plain(renderChat(origin, spec, messages, options))
}

/**
 * The same with marks on what people wrote (origin.ts): whatever the template does with it, it can't become a special token. Throws
 * `unsupported` where there is no template, `bad_model` for one that is none or takes too much, `bad_argument` for a conversation
 * that it refuses.
 */
export function renderChat(
  origin: Origin,
  spec: TokenizerSpec,
  messages: readonly ChatMessage[],
  { values = {}, limits, continueFinal = false }: TemplateOptions = {},
): string {
  const template = templateOf(spec)
  const forms = () => formsFor(spec, template)
  const given = messages.map((message) => {
    const { content, ...rest } = message
    const read = contentFor(forms, markedContent(origin, content))
    const fields = marked(origin, rest, 'message') as Fields
    return withReasoning(read === undefined ? fields : { ...fields, content: read })
  })
  const open = continueFinal ? openedEnd(origin, given) : undefined
  const names = {
    ...namesOf(spec),
    ...(marked(origin, values, 'fields') as Fields),
    ...(open && { add_generation_prompt: false }),
    messages: open?.messages ?? given,
  }
  try {
    const text = renderTemplate(template.program, names, { origin, limits: limits ?? limitsFor([messages, values]) })
    return open ? cutEnd(origin, text, open.text) : text
  } catch (cause) {
    throw failure(cause)
  }
}

/** What every template may use, beside `messages`. */
function namesOf(spec: TokenizerSpec) {
  return {
    tools: null,
    documents: null,
    add_generation_prompt: true,
    bos_token: spec.bosToken ?? '',
    eos_token: spec.eosToken ?? '',
  }
}

/** Whether a template was stopped for what it took. */
export function isOverBudget(error: unknown): boolean {
  return error instanceof ForetokenError && error.cause instanceof OverBudget
}

/**
 * What may be spent where nobody waits for others: about a second of a hostile template's time. Of 70 published templates the hungriest takes
 * 1,200 steps a message and 16 characters for each of a long message.
 */
export function limitsFor(given: unknown): Limits {
  return { steps: 2_000_000, size: 2 ** 24 + 32 * lengthOf(given) }
}

/** What may be spent where others wait: some milliseconds. */
export function shortLimitsFor(given: unknown): Limits {
  return { steps: 20_000, size: 2 ** 20 + 32 * lengthOf(given) }
}

/** Characters of all texts in what a person gave, and one for each thing that is none. */
export function lengthOf(given: unknown): number {
  if (typeof given === 'string') return given.length
  if (typeof given !== 'object' || given === null) return 1
  let sum = 1
  for (const [key, value] of Object.entries(given)) sum += key.length + lengthOf(value)
  return sum
}

interface Template {
  readonly program: Program
  /** Whether it may read a content in parts: it must name their text. */
  readonly namesText: boolean
  /** Tried where it is first needed. */
  forms?: Forms
}

/** Each parsed once; or what is wrong with it. */
const templates = new WeakMap<TokenizerSpec, Template | ForetokenError>()

function templateOf(spec: TokenizerSpec): Template {
  let template = templates.get(spec)
  if (!template) {
    template = parsed(spec)
    templates.set(spec, template)
  }
  if (template instanceof ForetokenError) throw template
  return template
}

function parsed({ chatTemplate: source }: TokenizerSpec): Template | ForetokenError {
  if (source === undefined)
    return new ForetokenError('unsupported', 'this model has no chat template; give it a raw prompt (--raw)')
  try {
    return { program: parseTemplate(source), namesText: /\btext\b/.test(source) }
  } catch (cause) {
    return new ForetokenError('bad_model', `the chat template can't be parsed: ${(cause as Error).message}`, { cause })
  }
}

/** Which forms of content a template reads. */
function formsFor(spec: TokenizerSpec, template: Template): Forms {
  const origin = new Origin([])
  template.forms ??= formsOf(template.namesText, (messages) =>
    renderTemplate(template.program, { ...namesOf(spec), messages }, { origin, limits: shortLimitsFor(messages) }),
  )
  return template.forms
}

function failure(cause: unknown): ForetokenError {
  if (cause instanceof ForetokenError) return cause
  const { message } = cause as Error
  if (cause instanceof Refused)
    return new ForetokenError('bad_argument', `the model's chat template refuses this conversation: ${message}`, {
      cause,
    })
  if (cause instanceof OverBudget)
    return new ForetokenError('bad_model', `the model's chat template was stopped: ${message}`, { cause })
  return new ForetokenError('bad_model', `the model's chat template failed on this conversation: ${message}`, { cause })
}

/** What a model thought has three names; templates read one of two. */
function withReasoning(message: Fields): Fields {
  const { reasoning_content, thinking, reasoning } = message
  const thought = reasoning_content ?? thinking ?? reasoning
  return thought == null ? message : { thinking: thought, ...message, reasoning_content: thought }
}

/** Who may speak: the text of a role comes from us, and templates make special tokens of it. */
const roles = new Set(['system', 'developer', 'user', 'assistant', 'tool'])

/** What a person gave, with every text marked, names of fields of theirs as well. */
function marked(origin: Origin, value: unknown, kind: 'message' | 'fields' | 'any'): Given {
  if (typeof value === 'string') return origin.mark(value)
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return value
  if (Array.isArray(value)) return value.map((item) => marked(origin, item, 'any'))
  if (typeof value !== 'object') return null
  const entries = Object.entries(value).filter(([, item]) => item !== undefined)
  if (kind === 'any')
    return new Map(entries.map(([key, item]): [string, Given] => [origin.mark(key), marked(origin, item, 'any')]))
  return Object.fromEntries(
    entries.map(([key, item]) => {
      const role = kind === 'message' && key === 'role' && typeof item === 'string' && roles.has(item)
      return [key, role ? item : marked(origin, item, 'any')]
    }),
  )
}
