/**
 * Finds out what a chat template does with tools, and gives it conversations in a form that it
 * reads. As with content (content.ts) this is found by experiment: a conversation with a call is
 * rendered once, and how the call appears says which format the model was taught. A template that
 * ignores tools gets them as text: a description in the system turn, calls and results in content.
 */
import { ForetokenError } from '../base/errors.ts'
import type { ToolDefinition } from '../base/tool.ts'
import { type ToolFormat, type ToolFormatName, toolFormatNames, toolFormats } from '../tools/format.ts'
import { instructions, openaiTool, type PlainCall, spacedJson, writtenCalls, writtenResult } from '../tools/write.ts'
import type { Fields } from './content-forms.ts'
import type { TemplateInput } from './jinja/render.ts'
import type { Origin } from './origin.ts'

/** What a template does with tools, and how the model writes calls. */
export interface ToolSupport {
  readonly format: ToolFormat
  /** `value`: it reads `tools`; `system`: it reads `tools` of the system message; `text`: it reads neither. */
  readonly tools: 'value' | 'system' | 'text'
  /** How it reads the arguments of calls; `text` if it leaves calls out. */
  readonly calls: 'object' | 'string' | 'text'
  /** Whether it reads messages of tools. */
  readonly results: boolean
  /** Whether it reads system messages. */
  readonly system: boolean
}

/** Renders a conversation; throws if the template does. */
type Render = (messages: readonly Fields[], values?: Readonly<Record<string, TemplateInput>>) => string

const name = 'needle_tool'
const values = { needle_key: 'needle value' }
const about = 'needle description'
const answer = 'needle result'
const tool = {
  name,
  description: about,
  parameters: { type: 'object', properties: { needle_key: { type: 'string' } } },
}
const question: Fields = { role: 'user', content: 'needle question' }

/**
 * Returns what a template does with tools. `source` is its text. Throws `unsupported` if it has a
 * format of its own that is not known, and none is `wanted`.
 */
export function toolSupportOf(source: string, render: Render, wanted?: ToolFormatName): ToolSupport {
  const rendered = (messages: readonly Fields[], values?: Readonly<Record<string, TemplateInput>>) => {
    try {
      return render(messages, values)
    } catch {
      return ''
    }
  }
  // Some templates can't do without tools.
  const tried = (messages: readonly Fields[], values?: Readonly<Record<string, TemplateInput>>) =>
    rendered(messages, values) || (values ? '' : rendered(messages, { tools: [openaiTool(tool) as TemplateInput] }))
  const tools = toolsReadBy(tried)
  const { calls, text } = callsReadBy(tried)
  const system = tried([{ role: 'system', content: about }, question]).includes(about)
  const results = tried([...turn('ok'), result]).includes(answer)
  const format = wanted ? toolFormats[wanted] : formatOf(source, tools, calls === 'text' ? undefined : text)
  return format.name === 'generic'
    ? { format, tools: 'text', calls: 'text', results: false, system }
    : { format, tools, calls, results: calls !== 'text' || (results && tools !== 'text'), system }
}

const result: Fields = { role: 'tool', name, tool_call_id: 'needle123', content: answer }
const turn = (content: string): Fields[] => [question, { role: 'assistant', content }]

function toolsReadBy(tried: Render): ToolSupport['tools'] {
  if (tried([question], { tools: [openaiTool(tool) as TemplateInput] }).includes(about)) return 'value'
  const message = { role: 'system', content: 'needle system', tools: spacedJson([tool]) }
  return tried([message, question]).includes(about) ? 'system' : 'text'
}

function callsReadBy(tried: Render): { calls: ToolSupport['calls']; text: string } {
  for (const form of ['object', 'string'] as const) {
    const call = {
      id: 'needle123',
      type: 'function',
      function: { name, arguments: form === 'object' ? values : spacedJson(values) },
    }
    const text = tried([question, { role: 'assistant', content: '', tool_calls: [call] }, result])
    // An object that is printed as Python does has single quotes; a string that is quoted once more has escapes.
    if (text.includes(name) && text.includes(values.needle_key) && !/'needle_key'|\\"needle_key/.test(text))
      return { calls: form, text }
  }
  return { calls: 'text', text: '' }
}

/** Text that gives away the format of a template that reads tools and leaves calls out. */
const marks: readonly (readonly [string, ToolFormatName])[] = [
  ['<|tool_list_start|>', 'lfm2'],
  ['<|tool_call_start|>', 'lfm2'],
  ['"List of tools: ["', 'lfm2'],
  ['<|tool|>', 'phi4-mini'],
  ['<|tool_call|>', 'granite'],
  ['<start_function_call>', 'gemma'],
  ['<tool_call>', 'hermes'],
]

function formatOf(source: string, tools: ToolSupport['tools'], text: string | undefined): ToolFormat {
  const packed = (written: string) =>
    written.replace(/\s/g, '').replace(/\[CALL_ID\]needle123|,"id":"needle123"|"id":"needle123",/g, '')
  const call: PlainCall = { name, arguments: values }
  // Some templates leave out the brackets of a single call.
  for (const signs of [/(?!)/g, /[[\]]/g])
    for (const format of text === undefined ? [] : Object.values(toolFormats))
      if (
        packed(text ?? '')
          .replace(signs, '')
          .includes(packed(writtenCalls(format, [call])).replace(signs, ''))
      )
        return format
  const [, marked] = marks.find(([mark]) => source.includes(mark)) ?? []
  if ((tools !== 'text' || text !== undefined) && marked !== undefined) return toolFormats[marked]
  if (tools === 'text' && text === undefined) return toolFormats.generic
  throw new ForetokenError(
    'unsupported',
    `the model's chat template has a form of tool calls that is not known; choose a tool format: ${toolFormatNames.join(', ')}`,
  )
}

/** A conversation as a template reads it. */
export interface ToolConversation {
  readonly messages: readonly Fields[]
  /** The value of `tools`; undefined if there is none. */
  readonly tools: TemplateInput | undefined
}

/**
 * Returns a conversation, whose texts are marked (origin.ts), in the form that the template reads.
 * `mark` marks a value of a caller.
 */
export function withTools(
  support: ToolSupport,
  conversation: readonly Fields[],
  tools: readonly ToolDefinition[],
  { origin, mark }: { readonly origin: Origin; mark(value: unknown): TemplateInput },
): ToolConversation {
  const ids = idsOf(support.format)
  const read = conversation.map((message) => readable(support, message, { origin, mark, ids }))
  const messages = support.results ? read : merged(read)
  if (tools.length === 0) return { messages, tools: undefined }
  const list = tools.map(openaiTool)
  if (support.tools === 'value') return { messages, tools: mark(list) }
  if (support.tools === 'system') {
    const [first, ...rest] = messages
    const system = first?.role === 'system' ? first : { role: 'system', content: '' }
    const told = { ...system, tools: origin.mark(spacedJson(list.map(({ function: each }) => each))) }
    return { messages: [told, ...(first && first !== system ? [first] : []), ...rest], tools: undefined }
  }
  return {
    messages: told(
      support,
      messages,
      instructions(support.format, tools, (text) => origin.mark(text)),
    ),
    tools: undefined,
  }
}

interface Making {
  readonly origin: Origin
  mark(value: unknown): TemplateInput
  ids(id: string): string
}

/** Returns one message in the form that the template reads. */
function readable(support: ToolSupport, message: Fields, { origin, ids }: Making): Fields {
  const { tool_calls: calls, tool_call_id: id, content } = message
  const plain = (value: TemplateInput | undefined) => (typeof value === 'string' ? origin.plain(value) : '')
  if (message.role === 'tool') {
    const known = id === undefined ? message : { ...message, tool_call_id: origin.mark(ids(plain(id))) }
    return support.results ? known : { role: 'user', content: writtenResult(textOf(content)), tool: true }
  }
  if (!Array.isArray(calls) || calls.length === 0) return message
  const list = (calls as readonly ReadonlyMap<string, TemplateInput>[]).map((call) => unmarkedKeys(origin, call))
  if (support.calls === 'text') {
    const { tool_calls: _, ...rest } = message
    const plainCalls = list.map(({ function: each }) => plainOf(origin, each as TemplateInput) as unknown as PlainCall)
    const said = textOf(content)
    const written = writtenCalls(support.format, plainCalls, (text) => origin.mark(text))
    return { ...rest, content: said + (said === '' ? '' : support.format.between || '\n') + written }
  }
  const tool_calls = list.map(({ id, function: each, ...rest }): TemplateInput => {
    const called = unmarkedKeys(origin, each as ReadonlyMap<string, TemplateInput>)
    const values = called.arguments ?? new Map()
    const given = support.calls === 'object' ? values : origin.mark(spacedJson(plainOf(origin, values)))
    return {
      ...rest,
      ...(id !== undefined && { id: origin.mark(ids(plain(id))) }),
      type: 'function',
      function: { ...called, arguments: given },
    }
  })
  return { ...message, tool_calls }
}

/** Results of one turn are one message of the user, since many templates want turns that alternate. */
function merged(messages: readonly Fields[]): Fields[] {
  const all: Fields[] = []
  for (const message of messages) {
    const { tool, ...rest } = message
    const last = all.at(-1)
    if (tool && last?.tool)
      all[all.length - 1] = { ...last, content: `${textOf(last.content)}\n${textOf(rest.content)}` }
    else all.push(message)
  }
  return all.map(({ tool: _, ...rest }) => rest)
}

/** Adds a description of the tools to the system message, or to the first message of the user. */
function told({ system }: ToolSupport, messages: readonly Fields[], text: string): Fields[] {
  const at = system ? (messages[0]?.role === 'system' ? 0 : -1) : messages.findIndex(({ role }) => role === 'user')
  const message = messages[at]
  if (!message) return [{ role: system ? 'system' : 'user', content: text }, ...messages]
  const said = textOf(message.content)
  return messages.with(at, {
    ...message,
    content: system ? said + (said === '' ? '' : '\n\n') + text : `${text}\n\n${said}`,
  })
}

function textOf(content: TemplateInput | undefined): string {
  if (typeof content === 'string') return content
  if (!Array.isArray(content)) return ''
  return content.map((part) => (part instanceof Map ? textOf(part.get('text')) : '')).join('\n')
}

/** Returns a marked dict as an object with plain keys; its values stay marked. */
function unmarkedKeys(origin: Origin, dict: ReadonlyMap<string, TemplateInput>): Record<string, TemplateInput> {
  return Object.fromEntries([...dict].map(([key, value]) => [origin.plain(key), value]))
}

/** Returns a value without its marks. */
function plainOf(origin: Origin, value: TemplateInput | undefined): unknown {
  if (typeof value === 'string') return origin.plain(value)
  if (Array.isArray(value)) return value.map((item) => plainOf(origin, item))
  if (!(value instanceof Map)) return value
  return Object.fromEntries([...value].map(([key, item]) => [origin.plain(key), plainOf(origin, item)]))
}

/** Mistral's templates refuse ids that are not nine letters and digits; others leave ids out. */
function idsOf({ name }: ToolFormat): (id: string) => string {
  return name === 'mistral' || name === 'mistral-args' ? mistralId : (id) => id
}

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'

/** Returns an id of nine letters and digits: the same one for the same id. */
function mistralId(id: string): string {
  if (/^[A-Za-z0-9]{9}$/.test(id)) return id
  let hash = 0xcbf29ce484222325n
  for (let at = 0; at < id.length; at++) hash = BigInt.asUintN(64, (hash ^ BigInt(id.charCodeAt(at))) * 0x100000001b3n)
  return Array.from({ length: 9 }, (_, at) => alphabet.charAt(Number((hash >> BigInt(6 * at)) % 62n))).join('')
}
