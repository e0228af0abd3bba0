/** Renders a conversation with the chat template of the model's tokenizer. */
import { ForetokenError } from '../base/errors.ts'
import type { TokenizerSpec } from '../base/model.ts'
import type { ChatMessage } from '../base/prompt.ts'
import type { ToolDefinition } from '../base/tool.ts'
import type { ToolFormatName } from '../tools/format.ts'
import { markedContent } from './content.ts'
import { contentFor, type Fields, type Forms, formsOf } from './content-forms.ts'
import { cutEnd, openedEnd } from './continue.ts'
import { type Limits, OverBudget } from './jinja/budget.ts'
import { Refused } from './jinja/globals.ts'
import { type Program, parseTemplate } from './jinja/parse.ts'
import { renderTemplate, type TemplateInput } from './jinja/render.ts'
import { Origin } from './origin.ts'
import { type ToolSupport, toolSupportOf, withTools } from './tool-support.ts'

/**
 * Values for the template beside `messages`, as in Hugging Face's `apply_chat_template`:
 * `enable_thinking`, `tools`.
 */
export type TemplateValues = Readonly<Record<string, unknown>>

/** How a conversation is rendered. */
export interface TemplateOptions {
  readonly values?: TemplateValues | undefined
  /** Limits on what rendering may cost. Default: derived from the length of the conversation. */
  readonly limits?: Limits | undefined
  /**
   * Whether the last message is the beginning of an answer, left open for the model to continue.
   * Default false.
   */
  readonly continueFinal?: boolean | undefined
  /** Functions that the model may call. */
  readonly tools?: readonly ToolDefinition[] | undefined
  /** How calls are written. Default: found from the template. */
  readonly toolFormat?: ToolFormatName | undefined
}

/**
 * Returns the text of a conversation, including the beginning of the answer. Throws as
 * `renderChat`.
 */
export function applyTemplate(
  spec: TokenizerSpec,
  messages: readonly ChatMessage[],
  options: TemplateOptions = {},
): string {
  const origin = new Origin([])
  return origin.plain(renderChat(origin, spec, messages, options))
}

/**
 * Returns the same with user text marked (origin.ts): whatever the template does with it, it can't
 * become a special token. Throws `unsupported` if there is no template, `bad_model` if it is
 * invalid or costs too much, and `bad_argument` for a conversation that it refuses.
 */
export function renderChat(
  origin: Origin,
  spec: TokenizerSpec,
  messages: readonly ChatMessage[],
  { values = {}, limits, continueFinal = false, tools = [], toolFormat }: TemplateOptions = {},
): string {
  const template = templateOf(spec)
  // Before anything walks the input, since it may have no end.
  const whole = limitsFor([messages, values, tools])
  const forms = () => formsFor(spec, template)
  const read = messages.map((message) => {
    const { content, ...rest } = message
    const read = contentFor(forms, markedContent(origin, content))
    const fields = marked(origin, rest, 'message') as Fields
    return withReasoning(read === undefined ? fields : { ...fields, content: read })
  })
  const usesTools = tools.length > 0 || messages.some(({ tool_calls }) => tool_calls && tool_calls.length > 0)
  const adapted = usesTools
    ? withTools(supportFor(spec, template, toolFormat), read, tools, {
        origin,
        mark: (value) => marked(origin, value, 'any'),
      })
    : undefined
  const conversation = adapted?.messages ?? read
  const open = continueFinal ? openedEnd(origin, conversation) : undefined
  const names = {
    ...namesOf(spec),
    ...(marked(origin, values, 'fields') as Fields),
    ...(adapted?.tools !== undefined && { tools: adapted.tools }),
    ...(open && { add_generation_prompt: false }),
    messages: open?.messages ?? conversation,
  }
  try {
    const text = renderTemplate(template.program, names, { origin, limits: limits ?? whole })
    return open ? cutEnd(origin, text, open.text) : text
  } catch (cause) {
    throw failure(cause)
  }
}

/** Returns the values that every template may use, beside `messages`. */
function namesOf(spec: TokenizerSpec) {
  return {
    tools: null,
    documents: null,
    add_generation_prompt: true,
    bos_token: spec.bosToken ?? '',
    eos_token: spec.eosToken ?? '',
  }
}

/** Returns whether `error` says that a template exceeded its limits. */
export function isOverBudget(error: unknown): boolean {
  return error instanceof ForetokenError && error.cause instanceof OverBudget
}

/**
 * Returns the limits for when nothing else waits: about a second of a hostile template's time. The
 * most expensive of 70 published templates takes 1,200 steps a message, and 16 characters for each
 * character of a long message.
 */
export function limitsFor(input: unknown): Limits {
  return { steps: 2_000_000, size: 2 ** 24 + 32 * lengthOf(input) }
}

/** Returns the limits for when others wait: a few milliseconds. */
export function shortLimitsFor(input: unknown): Limits {
  return { steps: 20_000, size: 2 ** 20 + 32 * lengthOf(input) }
}

/** How deep messages and template values may be nested, and how many values they may have. */
const deepest = 100
const mostValues = 2 ** 22

/**
 * Returns the number of characters of all texts in an input, plus one for every other value. Throws
 * `bad_argument` for one without an end, and for one of more values than any prompt has.
 */
export function lengthOf(input: unknown): number {
  let values = 0
  const length = (input: unknown, depth: number): number => {
    if (depth > deepest || ++values > mostValues)
      throw new ForetokenError(
        'bad_argument',
        `messages and template values may be nested ${deepest} deep and have ${mostValues} values; these have more`,
      )
    if (typeof input === 'string') return input.length
    if (typeof input !== 'object' || input === null) return 1
    let sum = 1
    for (const [key, value] of Object.entries(input)) sum += key.length + length(value, depth + 1)
    return sum
  }
  return length(input, 0)
}

/**
 * Returns what a model's template does with tools, and the format of its calls. Throws `unsupported`
 * if there is no template, or its format is not known and none is `wanted`.
 */
export function toolSupport(spec: TokenizerSpec, wanted?: ToolFormatName): ToolSupport {
  return supportFor(spec, templateOf(spec), wanted)
}

/**
 * Returns what a template writes at the end of a short conversation, where the answer begins; '' if
 * there is no template or it fails. It shows whether the answer begins inside a thought.
 */
export function generationPrompt(spec: TokenizerSpec, values: TemplateValues = {}): string {
  try {
    const template = templateOf(spec)
    const key = JSON.stringify(values)
    const known = template.ends.get(key)
    if (known !== undefined) return kept(template.ends, key, known)
    const given = marked(new Origin([]), values, 'fields') as Fields
    const text = tried(spec, template, [{ role: 'user', content: 'needle' }], given)
    const end = text.slice(text.lastIndexOf('needle') + 'needle'.length)
    return key.length <= 200 ? kept(template.ends, key, end) : end
  } catch {
    return ''
  }
}

/** How many ends of a template are kept. */
const mostEnds = 16

/** Keeps the latest ends that were asked for, so that no caller's odd values displace others' for good. */
function kept(ends: Map<string, string>, key: string, end: string): string {
  ends.delete(key)
  ends.set(key, end)
  for (const oldest of ends.keys()) if (ends.size > mostEnds) ends.delete(oldest)
  return end
}

interface Template {
  readonly program: Program
  /** Whether it may read content in parts: to do so it must name their field `text`. */
  readonly namesText: boolean
  /** Determined on first use. */
  forms?: Forms
  /** By the format that was asked for; '' for none. */
  readonly support: Map<string, ToolSupport>
  /** What it writes where the answer begins, by the values that it was given. */
  readonly ends: Map<string, string>
}

/** Each template is parsed once; an error is kept instead if it can't be. */
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
    return new ForetokenError(
      'unsupported',
      'this model has no chat template; use a raw prompt (--raw, /v1/completions)',
    )
  try {
    return { program: parseTemplate(source), namesText: /\btext\b/.test(source), support: new Map(), ends: new Map() }
  } catch (cause) {
    return new ForetokenError('bad_model', `the chat template can't be parsed: ${(cause as Error).message}`, { cause })
  }
}

/** Returns which forms of content a template reads. */
function formsFor(spec: TokenizerSpec, template: Template): Forms {
  template.forms ??= formsOf(template.namesText, (messages) => tried(spec, template, messages))
  return template.forms
}

/** Returns what a template does with tools. */
function supportFor(spec: TokenizerSpec, template: Template, wanted?: ToolFormatName): ToolSupport {
  const known = template.support.get(wanted ?? '')
  if (known) return known
  const render = (messages: readonly Fields[], values?: Readonly<Record<string, TemplateInput>>) =>
    tried(spec, template, messages, values)
  const support = toolSupportOf(spec.chatTemplate ?? '', render, wanted)
  template.support.set(wanted ?? '', support)
  return support
}

/** Renders a short conversation of our own, to see what a template does with it. */
function tried(
  spec: TokenizerSpec,
  template: Template,
  messages: readonly Fields[],
  values: Readonly<Record<string, TemplateInput>> = {},
): string {
  const names = { ...namesOf(spec), ...values, messages }
  return renderTemplate(template.program, names, { origin: new Origin([]), limits: shortLimitsFor(messages) })
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

/** The model's reasoning has three names in use, and templates read one of two. */
function withReasoning(message: Fields): Fields {
  const { reasoning_content, thinking, reasoning } = message
  const thought = reasoning_content ?? thinking ?? reasoning
  return thought == null ? message : { thinking: thought, ...message, reasoning_content: thought }
}

/** Allowed roles. They are not marked: templates turn the text of a role into special tokens. */
const roles = new Set(['system', 'developer', 'user', 'assistant', 'tool'])

/** Returns an input with every text marked, including the field names that a user chose. */
function marked(origin: Origin, value: unknown, kind: 'message' | 'fields' | 'any'): TemplateInput {
  if (typeof value === 'string') return origin.mark(value)
  if (typeof value === 'number' || typeof value === 'boolean' || value === null) return value
  if (Array.isArray(value)) return value.map((item) => marked(origin, item, 'any'))
  if (typeof value !== 'object') return null
  const entries = Object.entries(value).filter(([, item]) => item !== undefined)
  if (kind === 'any')
    return new Map(
      entries.map(([key, item]): [string, TemplateInput] => [origin.mark(key), marked(origin, item, 'any')]),
    )
  return Object.fromEntries(
    entries.map(([key, item]) => {
      const role = kind === 'message' && key === 'role' && typeof item === 'string' && roles.has(item)
      return [key, role ? item : marked(origin, item, 'any')]
    }),
  )
}
