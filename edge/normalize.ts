/**
 * Turns a client's body into this server's own terms: the one step between JSON and the schemas.
 * Clients use other names, send null for what they leave out, and send fields of other servers.
 * Here
 *
 *  - null means absent, wherever it stands;
 *  - aliases become our names (aliases.ts), and Ollama's `options` in OpenAI's requests are unpacked;
 *  - limits larger than any context are clamped, and other spellings of "off" are dropped;
 *  - fields that no schema names are returned, so that the server can report or refuse them.
 *    Known but unsupported fields are left for the schemas to refuse.
 */
import type { z } from '@hono/zod-openapi'
import { aliases, type Form, isOllama, templateAliases, textParts, thoughts } from './aliases.ts'
import { ApiError } from './errors.ts'
import { unknownFields } from './unknown.ts'

export interface Normal {
  readonly body: unknown
  /** Paths of ignored fields, such as `messages[0].cache_control`; at most `mostIgnored`. */
  readonly ignored: readonly string[]
}

/** Maximum number of ignored fields that are reported. */
export const mostIgnored = 16

/** A number of tokens that exceeds any context. */
const largest = 2 ** 31 - 1

type Fields = Record<string, unknown>

/**
 * Normalizes the body in place. Throws an ApiError of 400 for a fault that a schema could not
 * explain well.
 */
export function normalize(form: Form, schema: z.ZodType, body: unknown): Normal {
  if (!isFields(body)) return { body, ignored: [] }
  const ignored = new Set<string>()
  const ofTexts = form === 'embedding' || form === 'rerank' || form === 'ollamaEmbed'
  dropNulls(body, ofTexts ? keepsNullsOfTexts : keepsNulls)
  const ollama = isOllama(form)
  if (!ollama && form !== 'message') unpackOptions(body, ignored)
  rename(body, aliases[form], ignored)
  if (!ollama && !ofTexts && form !== 'completion') gatherTemplateValues(body, ignored)
  // Ollama's API has its limits and its stop strings among its options.
  const settings = ollama ? body.options : body
  if (isFields(settings)) simplify(form, settings)
  for (const message of listOf(form === 'response' ? body.input : body.messages))
    if (isFields(message)) normalizeMessage(form, message)
  if (form === 'response') checkItems(body.input)
  return { body, ignored: [...ignored, ...unknownFields(schema, body, mostIgnored)].slice(0, mostIgnored) }
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/**
 * Fields whose nulls stay: a template may distinguish null from absent, a hole in a prompt of token
 * ids is an error, and in a JSON schema null is a value.
 */
const keepsNulls = new Set([
  'chat_template_kwargs',
  'prompt',
  'schema',
  'guided_json',
  'json_schema',
  'json',
  'format',
  'parameters',
  'arguments',
  'input_schema',
])

/** A hole in a list of texts would give each later one the index of another. */
const keepsNullsOfTexts = new Set(['input', 'documents'])

function dropNulls(value: unknown, keeps: ReadonlySet<string>): unknown {
  if (Array.isArray(value)) {
    // Skips long lists of token ids, which contain no objects.
    if (!value.some((item) => typeof item === 'object')) return value
    const kept = value.filter((item) => item !== null)
    for (const item of kept) dropNulls(item, keeps)
    for (const [at, item] of kept.entries()) value[at] = item
    value.length = kept.length
  } else if (isFields(value))
    for (const [key, field] of Object.entries(value))
      if (field === null) delete value[key]
      // The input of a tool is an object; that of a response is a text or a list.
      else if (!keeps.has(key) && !(key === 'input' && isFields(field))) dropNulls(field, keeps)
  return value
}

/** Fields that `options` must not set: their entries are counted at the top level only. */
const neverOptions = new Set(['model', 'messages', 'input', 'prompt', 'tools', 'metadata', 'options'])
/** Maximum number of entries in a list or an object among the options. */
const mostOptionEntries = 1024

/**
 * Moves Ollama's `options` to the top level, where other servers have them. Throws an ApiError of
 * 400 for an option with too many entries.
 */
function unpackOptions(body: Fields, ignored: Set<string>): void {
  const { options } = body
  if (!isFields(options)) return
  delete body.options
  for (const [name, value] of Object.entries(options)) {
    const entries = typeof value === 'object' && value !== null ? Object.keys(value).length : 0
    if (entries > mostOptionEntries)
      throw new ApiError(400, `options.${name.slice(0, 60)} has more than ${mostOptionEntries} entries`, {
        code: 'invalid_value',
        param: `options.${name.slice(0, 60)}`,
      })
    if (neverOptions.has(name) || Object.hasOwn(body, name)) ignored.add(`options.${name}`)
    else body[name] = value
  }
}

/**
 * Renames aliases. An alias is ignored if the field itself, or an earlier alias, has another value.
 */
function rename(body: Fields, names: Readonly<Record<string, string>>, ignored: Set<string>): void {
  for (const [alias, field] of Object.entries(names)) {
    if (body[alias] === undefined) continue
    if (body[field] === undefined) body[field] = body[alias]
    else if (body[field] !== body[alias]) ignored.add(alias)
    delete body[alias]
  }
}

function gatherTemplateValues(body: Fields, ignored: Set<string>): void {
  for (const [alias, name] of Object.entries(templateAliases)) {
    const value = body[alias]
    if (typeof value !== 'boolean') continue
    delete body[alias]
    body.chat_template_kwargs ??= {}
    const values = body.chat_template_kwargs
    if (!isFields(values)) return
    if (values[name] === undefined) values[name] = value
    else if (values[name] !== value) ignored.add(alias)
  }
}

const mostTokens = ['max_tokens', 'max_completion_tokens', 'max_output_tokens', 'num_predict'] as const
const limits = [...mostTokens, 'min_tokens', 'top_k'] as const

function simplify(form: Form, body: Fields): void {
  for (const name of limits) {
    const value = body[name]
    if (typeof value === 'number' && value > largest && Number.isInteger(value)) body[name] = largest
  }
  // -2 is Ollama's "fill the context".
  for (const name of mostTokens) if (body[name] === -2) body[name] = -1
  // An empty stop string has no effect.
  for (const name of ['stop', 'stop_sequences']) {
    const stop = body[name]
    if (stop === '') delete body[name]
    else if (Array.isArray(stop)) body[name] = stop.filter((text) => text !== '')
  }
  const { logit_bias } = body
  if (form === 'chat' || form === 'completion') simplifyLogprobs(form, body)
  // llama.cpp sends a list of pairs.
  if (Array.isArray(logit_bias) && logit_bias.every((pair) => Array.isArray(pair) && pair.length === 2))
    body.logit_bias = Object.fromEntries(logit_bias)
}

/**
 * Accepts either form of `logprobs`: a chat has a boolean and `top_logprobs`, a completion a
 * number, and clients confuse the two.
 */
function simplifyLogprobs(form: Form, body: Fields): void {
  const { logprobs } = body
  if (form === 'completion') {
    if (logprobs === false) delete body.logprobs
    else if (logprobs === true) {
      body.logprobs = body.top_logprobs ?? 0
      delete body.top_logprobs
    }
  } else if (typeof logprobs === 'number') {
    body.logprobs = true
    body.top_logprobs ??= logprobs
  }
}

function normalizeMessage(form: Form, message: Fields): void {
  const { content, role } = message
  const type = form !== 'response' ? 'text' : role === 'assistant' ? 'output_text' : 'input_text'
  for (const part of [...listOf(content), ...(form === 'response' ? listOf(message.output) : [])])
    if (isFields(part) && textParts.includes(part.type as string)) part.type = type
  // An empty list of parts stands for an empty text.
  if (Array.isArray(content) && content.length === 0) message.content = ''
  if (role !== 'assistant' || (form !== 'chat' && form !== 'response')) return
  for (const name of thoughts) {
    if (typeof message[name] !== 'string') continue
    if (form === 'chat') message.reasoning_content ??= message[name]
    delete message[name]
  }
}

/** The types of input items that are complete in themselves. */
const itemTypes: readonly unknown[] = [undefined, 'message', 'function_call', 'function_call_output', 'reasoning']

/** Refuses other items: they refer to what an earlier response holds, or to tools that a server runs. */
function checkItems(input: unknown): void {
  for (const [index, item] of listOf(input).entries()) {
    if (!isFields(item) || itemTypes.includes(item.type)) continue
    const type = typeof item.type === 'string' ? item.type.slice(0, 60) : 'another type'
    throw new ApiError(
      400,
      `input[${index}] is an item of type ${JSON.stringify(type)}, but only messages, reasoning, calls of functions and their ` +
        'results are accepted: nothing is kept between requests; send every message with its text, as clients do with store: false',
      { code: 'unsupported_value', param: `input[${index}]` },
    )
  }
}
