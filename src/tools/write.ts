/** Writes calls, and what a model is told about tools, for templates that do not do so themselves. */
import type { ToolDefinition } from '../base/tool.ts'
import type { ToolFormat } from './format.ts'
import { bareKeys, python, writtenArguments } from './literal.ts'

/** A call as its caller sees it. */
export interface PlainCall {
  readonly name: string
  readonly arguments: Readonly<Record<string, unknown>>
}

/**
 * Returns the text of calls in a format. Every text that is not the format's own goes through `mark`,
 * so that a caller can tell who wrote what.
 */
export function writtenCalls(
  format: ToolFormat,
  calls: readonly PlainCall[],
  mark: (text: string) => string = (text) => text,
): string {
  const { marker, end, inside, list, between, together, bare } = format
  const each = calls.map((call) => writtenCall(format, call, mark))
  const section = (text: string) => (bare ? '' : marker) + inside + text + inside + end
  if (!together) return each.map(section).join(between)
  const all = each.join(between)
  return section(list ? `[${all}]` : all)
}

function writtenCall({ call }: ToolFormat, { name, arguments: values }: PlainCall, mark: (text: string) => string) {
  switch (call.kind) {
    case 'object':
      return `{"name": ${mark(JSON.stringify(name))}, "${call.key}": ${mark(spacedJson(values))}}`
    case 'tagged':
      return call.before + mark(name) + call.middle + mark(spacedJson(values)) + call.after
    case 'python':
      return mark(name) + writtenArguments(values, python, mark)
    case 'bare-keys':
      return `call:${mark(name)}${writtenArguments(values, bareKeys(call.quote), mark)}`
  }
}

/** Returns JSON with a space behind each comma and colon, as Python writes it and templates do. */
export function spacedJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(spacedJson).join(', ')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null'
  const fields = Object.entries(value).filter(([, field]) => field !== undefined)
  return `{${fields.map(([key, field]) => `${JSON.stringify(key)}: ${spacedJson(field)}`).join(', ')}}`
}

/** Returns a tool in the form that OpenAI's clients send, and that chat templates read. */
export function openaiTool({ name, description, parameters }: ToolDefinition) {
  return {
    type: 'function',
    function: {
      name,
      ...(description !== undefined && { description }),
      parameters: parameters ?? { type: 'object', properties: {} },
    },
  }
}

/**
 * Returns what a model is told about its tools where its template says nothing: their signatures, and
 * how a call and its result are written.
 */
export function instructions(
  format: ToolFormat,
  tools: readonly ToolDefinition[],
  mark: (text: string) => string = (text) => text,
): string {
  const signatures = tools.map((tool) => mark(spacedJson(openaiTool(tool).function)))
  const example = writtenCalls(format, [{ name: 'NAME', arguments: { ARGUMENT: 'VALUE' } }])
  return [
    'You can call these functions, each given as JSON:',
    '<tools>',
    ...signatures,
    '</tools>',
    'To call a function, answer with its name and its arguments in exactly this form:',
    example,
    `Each result comes back as ${writtenResult('RESULT').replaceAll('\n', '')}. If no function helps, answer in plain words.`,
  ].join('\n')
}

/** Returns a tool's result as part of a user's turn. */
export function writtenResult(text: string): string {
  return `<tool_response>\n${text}\n</tool_response>`
}
