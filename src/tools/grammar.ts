/**
 * Builds the grammar of an answer that may or must call tools, in llguidance's variant of Lark: free
 * text until a call begins, then the calls of the format with arguments of the tool's schema.
 */
import { ForetokenError } from '../base/errors.ts'
import { type Guide, toolLine } from '../base/guide.ts'
import type { ToolDefinition } from '../base/tool.ts'
import { markersOf, type ToolFormat } from './format.ts'

/** The answers that a grammar allows. */
export interface GrammarChoice {
  /** Whether the answer must be calls; otherwise it may be text, or text and then calls. */
  readonly required: boolean
  /** Whether there may be several calls. */
  readonly parallel: boolean
  /** How the answer begins: with thoughts, perhaps with thoughts, or without. */
  readonly thinking?: { readonly open: string; readonly close: string; readonly begun: boolean } | undefined
  /** What an answer that calls nothing must be, as the body of a Lark rule. Default: any text. */
  readonly text?: string | undefined
}

/** Returns the id of a special token, or undefined if a text is not one. */
export type SpecialId = (text: string) => number | undefined

/**
 * Largest grammar, in UTF-16 units: that of a guide. Here it keeps schemas that are copied into many
 * rules from filling the memory.
 */
const longest = 256 * 1024

/**
 * Returns the Lark text of the answers that may call `tools`. Throws `bad_argument` if it is longer
 * than 262,144 characters.
 */
export function toolGrammar(
  format: ToolFormat,
  tools: readonly ToolDefinition[],
  choice: GrammarChoice,
  specialId: SpecialId,
): string {
  const markers = [...markersOf(format), ...(choice.thinking ? [choice.thinking.open, choice.thinking.close] : [])]
  const special = (text: string) => (markers.includes(text) ? specialId(text) : undefined)
  const writer = new GrammarWriter(special, markers)
  const { thinking } = choice
  const body = answerRules(writer, format, choice)
  writer.rule('start', thinking ? `${thoughts(writer, thinking)} body` : 'body')
  writer.rule('body', body)
  writer.rule('call', tools.map((_, index) => `call_${index}`).join(' | '))
  for (const [index, tool] of tools.entries()) callRules(writer, format, tool, index)
  return writer.text
}

/** Returns the Lark text of an answer whose thoughts, if it has any, come before a text of one shape. */
export function thoughtfulGrammar(
  thinking: NonNullable<GrammarChoice['thinking']>,
  text: string,
  specialId: SpecialId,
): string {
  const writer = new GrammarWriter(specialId, [thinking.open, thinking.close])
  writer.rule('start', `${thoughts(writer, thinking)} SPACE? shape`)
  writer.rule('SPACE', '/[ \\n]{1,2}/')
  writer.rule('shape', text)
  return writer.text
}

/**
 * Returns a guide as the body of a Lark rule, or undefined if it is a grammar of its own. Throws
 * `bad_argument` for a schema whose text is not JSON.
 */
export function ruleOf(guide: Guide): string | undefined {
  switch (guide.kind) {
    case 'json_schema':
      return `%json ${schemaText(guide.schema)}`
    case 'json_object':
      return '%json {"type": "object"}'
    case 'choice':
      return guide.choices.map((choice) => JSON.stringify(choice)).join(' | ')
    case 'regex':
      return regexRule(guide.regex)
    default:
      return undefined
  }
}

/** Returns a schema on one line. Its text is read first: what follows a schema would be read as Lark. */
function schemaText(schema: unknown): string {
  if (typeof schema !== 'string') return JSON.stringify(schema)
  try {
    return JSON.stringify(JSON.parse(schema))
  } catch (cause) {
    throw new ForetokenError('bad_argument', `guide.schema is not JSON: ${(cause as Error).message.slice(0, 200)}`, {
      cause,
    })
  }
}

/**
 * Returns a regex as a rule, without its outer anchors, its slashes and line ends escaped; escapes are
 * read in pairs. Two slashes with nothing between them would begin a comment.
 */
function regexRule(regex: string): string {
  if (/(?<!\\)(\\\\)*\\$/.test(regex)) throw new ForetokenError('bad_argument', 'guide.regex ends with a backslash')
  const change = (part: string) => changes[part] ?? part
  const body = regex.replace(/^\^/, '').replace(/\\.|\/|\n|\r|\$$/gs, change)
  return body === '' ? '""' : `/${body}/`
}

const changes: Readonly<Record<string, string>> = {
  '/': '\\/',
  '\n': '\\n',
  '\r': '\\r',
  '\\\n': '\\n',
  '\\\r': '\\r',
  $: '',
}

/** Collects rules, and writes texts in which markers may be special tokens. */
class GrammarWriter {
  readonly #rules: string[] = []
  /** Number of characters of the rules so far. */
  #length = 0
  readonly #special: SpecialId
  readonly #split: RegExp

  constructor(special: SpecialId, markers: readonly string[]) {
    this.#special = special
    const tokens = markers.filter((marker) => special(marker) !== undefined)
    this.#split = new RegExp(`(${tokens.map(escaped).join('|') || '(?!)'})`)
  }

  get text(): string {
    return `${this.#rules.join('\n')}\n`
  }

  rule(name: string, body: string): void {
    this.line(`${name}: ${body}`)
  }

  line(text: string): void {
    this.#length += text.length + 1
    if (this.#length > longest)
      throw new ForetokenError(
        'bad_argument',
        `the grammar of the answer has ${this.#length} characters or more; it may have ${longest}: shorten its schemas`,
      )
    this.#rules.push(text)
  }

  isSpecial(text: string): boolean {
    return this.#special(text) !== undefined
  }

  /** Returns a text as a sequence of strings and special tokens. */
  literal(text: string): string {
    const parts = text.split(this.#split).filter((part) => part !== '')
    return parts.map((part) => (this.isSpecial(part) ? `<[${this.#special(part)}]>` : JSON.stringify(part))).join(' ')
  }
}

/** Returns the rule of an answer without its thoughts. */
function answerRules(writer: GrammarWriter, format: ToolFormat, choice: GrammarChoice): string {
  const { required, parallel, text } = choice
  const { marker, end, inside, list, between, together, bare } = format
  const more = (separator: string, item: string) =>
    parallel && format.parallel ? ` (${[writer.literal(separator), item].filter(Boolean).join(' ')})*` : ''
  const one = `call${together ? more(between, 'call') : ''}`
  const open = writer.literal(inside + (list ? '[' : ''))
  const close = writer.literal((list ? ']' : '') + inside + end)
  writer.rule('inner', [open, one, close].filter(Boolean).join(' '))
  writer.rule('section', `${writer.literal(marker)} inner`)
  const rest = together ? '' : more(between, 'section')
  writer.rule('SPACE', '/[ \\n]{1,2}/')
  const calls = bare ? 'SPACE? (call | section)' : `SPACE? section${rest}`
  if (required) return calls
  if (text !== undefined) {
    writer.rule('shape', text)
    // A call without its marker could not be told from a shape in JSON at its first sign.
    return `shape | SPACE? section${rest}`
  }
  writer.rule('FREE', bare ? '/\\s*[^{\\s](?s:.*)/' : '/(?s:.+)/')
  if (writer.isSpecial(marker)) return `FREE? | ${bare ? 'SPACE? call | ' : ''}FREE? section${rest}`
  // Text runs up to the first marker: there it is either over, or calls begin.
  writer.rule('TEXT', `FREE & ~/(?s:.*)${escaped(marker)}(?s:.*)/`)
  writer.rule('upto[lazy]', `/${bare ? '(\\s*[^{\\s](?s:.*))?' : '(?s:.*)'}${escaped(marker)}/`)
  return `TEXT? | ${bare ? 'SPACE? call | ' : ''}upto inner${rest}`
}

function thoughts(writer: GrammarWriter, { open, close, begun }: NonNullable<GrammarChoice['thinking']>): string {
  if (writer.isSpecial(close)) {
    writer.rule('THOUGHT', '/(?s:.+)/')
    writer.rule('thoughts', `THOUGHT? ${writer.literal(close)}`)
  } else writer.rule('thoughts[lazy]', `/(?s:.*)${escaped(close)}/`)
  return begun ? 'thoughts' : `(${writer.literal(open)} thoughts)?`
}

/** Writes the rules of one tool's call. */
function callRules(writer: GrammarWriter, { call }: ToolFormat, tool: ToolDefinition, index: number): void {
  const name = `call_${index}`
  const schema = objectSchema(tool)
  writer.line(toolLine(tool.name))
  switch (call.kind) {
    case 'object': {
      const head = writer.literal(`{"name": ${JSON.stringify(tool.name)}, "${call.key}": `)
      writer.rule(name, `${head} args_${index} "}"`)
      break
    }
    case 'tagged': {
      const head = writer.literal(call.before + tool.name + call.middle)
      writer.rule(name, [head, `args_${index}`, writer.literal(call.after)].filter(Boolean).join(' '))
      break
    }
    case 'python':
      writer.rule(name, `${writer.literal(`${tool.name}(`)} args_${index} ")"`)
      namedRules(writer, schema, index, {
        assign: '=',
        between: ', ',
        value: (each) => `%json ${JSON.stringify(each)}`,
      })
      return
    case 'bare-keys':
      writer.rule(name, `${writer.literal(`call:${tool.name}{`)} args_${index} "}"`)
      bareRules(writer, call.quote)
      namedRules(writer, schema, index, {
        assign: ':',
        between: ',',
        value: (each) => bareValue(each, (text) => writer.literal(call.quote + text + call.quote)),
      })
      return
  }
  writer.rule(`args_${index}`, json(schema))
}

type Schema = Readonly<Record<string, unknown>>

function json(schema: unknown): string {
  return `%json ${JSON.stringify(schema)}`
}

function objectSchema({ name, parameters }: ToolDefinition): Schema {
  const types = [parameters?.type ?? 'object'].flat()
  if (!types.includes('object'))
    throw new ForetokenError(
      'bad_argument',
      `the parameters of the tool ${name} are of type ${types.join(' or ')}, and arguments are one object: use the type object`,
    )
  return { ...parameters, type: 'object' }
}

interface NamedValues {
  readonly assign: string
  readonly between: string
  value(schema: unknown): string
}

/**
 * Writes the rules of arguments by name, in the order of the schema: those that are required must
 * come. Without named properties any may come.
 */
function namedRules(writer: GrammarWriter, schema: Schema, index: number, how: NamedValues): void {
  const properties = Object.entries((schema.properties ?? {}) as Schema)
  const name = `args_${index}`
  const between = writer.literal(how.between)
  if (properties.length === 0) {
    const free = schema.additionalProperties !== false && schema.properties === undefined
    writer.rule(name, free ? `(any_${index} (${between} any_${index})*)?` : '""')
    if (free) writer.rule(`any_${index}`, `/[A-Za-z_]\\w{0,63}/ ${writer.literal(how.assign)} ${how.value({})}`)
    return
  }
  const required = new Set(Array.isArray(schema.required) ? schema.required : [])
  const { $defs, definitions } = schema
  const shared = { ...($defs !== undefined && { $defs }), ...(definitions !== undefined && { definitions }) }
  writer.rule(name, `first_${index}_0`)
  for (const [at, [key, value]] of properties.entries()) {
    const one = `value_${index}_${at}`
    // Definitions are copied only where something refers to them.
    const refers = typeof value === 'object' && value !== null && JSON.stringify(value).includes('"$ref"')
    const each = refers ? { ...value, ...shared } : value
    writer.rule(one, `${writer.literal(key + how.assign)} ${how.value(each)}`)
    const must = required.has(key)
    const next = at + 1
    // `first`: nothing has come; `more`: something has, so that a separator precedes what follows.
    writer.rule(`first_${index}_${at}`, `${one} more_${index}_${next}${must ? '' : ` | first_${index}_${next}`}`)
    writer.rule(`more_${index}_${at}`, `${must ? `${between} ${one}` : `(${between} ${one})?`} more_${index}_${next}`)
  }
  writer.rule(`first_${index}_${properties.length}`, '""')
  writer.rule(`more_${index}_${properties.length}`, '""')
}

/** Writes the rules of values in Gemma's notation. */
function bareRules(writer: GrammarWriter, quote: string): void {
  if (writer.text.includes('\nbare: ')) return
  const mark = writer.literal(quote)
  const special = writer.isSpecial(quote)
  writer.rule('bare_text', special ? `${mark} INSIDE? ${mark}` : `${mark} inside`)
  if (special) writer.rule('INSIDE', '/(?s:.+)/')
  else writer.rule('inside[lazy]', `/(?s:.*)${escaped(quote)}/`)
  writer.rule('bare', 'bare_text | BARE_NUMBER | "true" | "false" | "null" | bare_list | bare_fields')
  writer.rule('BARE_NUMBER', '/-?(0|[1-9][0-9]{0,15})(\\.[0-9]{1,15})?/')
  writer.rule('BARE_INTEGER', '/-?(0|[1-9][0-9]{0,15})/')
  writer.rule('bare_list', '"[" (bare ("," bare)*)? "]"')
  writer.rule('bare_fields', '"{" (bare_field ("," bare_field)*)? "}"')
  writer.rule('bare_field', '/[A-Za-z_]\\w{0,63}/ ":" bare')
}

/** Returns the rule of a value with a schema: its type and its choices; what is inside it is free. */
function bareValue(schema: unknown, quoted: (text: string) => string): string {
  const { type, enum: choices } = (typeof schema === 'object' && schema !== null ? schema : {}) as Schema
  if (Array.isArray(choices) && choices.length > 0 && choices.every((choice) => typeof choice === 'string'))
    return `(${choices.map(quoted).join(' | ')})`
  const rules: Readonly<Record<string, string>> = {
    string: 'bare_text',
    number: 'BARE_NUMBER',
    integer: 'BARE_INTEGER',
    boolean: '("true" | "false")',
    array: 'bare_list',
    object: 'bare_fields',
    null: '"null"',
  }
  return (typeof type === 'string' && rules[type]) || 'bare'
}

function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')
}
