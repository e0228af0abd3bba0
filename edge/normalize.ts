/**
 * What a client sent, in this server's own terms: the one step between JSON and the schemas. Clients differ in names, send null for what
 * they do not say, and fields of other servers. Here
 *
 *  - null is as absent, wherever it stands;
 *  - other names become ours (aliases.ts), with Ollama's `options` taken apart;
 *  - limits that are larger than any context are cut, and values that say "off" in another way are left out;
 *  - fields that no schema names are told, so that the server can name or refuse them. What is known and not to be had the schemas refuse.
 */
import type { z } from '@hono/zod-openapi'
import { aliases, type Form, templateAliases, textParts, thoughts } from './aliases.ts'
import { ApiError } from './errors.ts'
import { unknownFields } from './unknown.ts'

export interface Normal {
  readonly body: unknown
  /** Fields that are read for nothing, by their path such as `messages[0].cache_control`; at most `mostIgnored`. */
  readonly ignored: readonly string[]
}

/** As many are told; a client that sends more knows enough. */
export const mostIgnored = 16

/** More tokens than any context has. */
const largest = 2 ** 31 - 1

type Fields = Record<string, unknown>

/** Changes the body in place. Throws an ApiError of 400 for what no schema could tell well. */
export function normalize(form: Form, schema: z.ZodType, body: unknown): Normal {
  if (!isFields(body)) return { body, ignored: [] }
  const lost = new Set<string>()
  dropNulls(body)
  takeApart(body, lost)
  rename(body, aliases[form], lost)
  if (form !== 'completion') gatherTemplateValues(body, lost)
  simplify(form, body)
  for (const message of listOf(form === 'chat' ? body.messages : form === 'response' ? body.input : undefined))
    if (isFields(message)) normalizeMessage(form, message)
  if (form === 'response') checkItems(body.input)
  return { body, ignored: [...lost, ...unknownFields(schema, body, mostIgnored)].slice(0, mostIgnored) }
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** A template may tell null from absent, and a prompt of ids with a hole is no prompt. */
const keptAsTheyAre = new Set(['chat_template_kwargs', 'prompt'])

function dropNulls(value: unknown): unknown {
  if (Array.isArray(value)) {
    // Long lists are token ids: these hold nothing to look into.
    if (!value.some((item) => typeof item === 'object')) return value
    const kept = value.filter((item) => item !== null)
    for (const item of kept) dropNulls(item)
    for (const [at, item] of kept.entries()) value[at] = item
    value.length = kept.length
  } else if (isFields(value))
    for (const [key, field] of Object.entries(value))
      if (field === null) delete value[key]
      else if (!keptAsTheyAre.has(key)) dropNulls(field)
  return value
}

/** What a request is about has its counts at the top, where they are limited. */
const neverOptions = new Set(['model', 'messages', 'input', 'prompt', 'tools', 'metadata', 'options'])
/** Entries of a list or an object among the options. */
const mostOptionEntries = 1024

/** Ollama's `options` hold what other servers take at the top. Throws an ApiError of 400 for one that holds too much. */
function takeApart(body: Fields, lost: Set<string>): void {
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
    if (neverOptions.has(name) || Object.hasOwn(body, name)) lost.add(`options.${name}`)
    else body[name] = value
  }
}

/** One that loses against the field's own name, or against another alias, is ignored. */
function rename(body: Fields, names: Readonly<Record<string, string>>, lost: Set<string>): void {
  for (const [alias, field] of Object.entries(names)) {
    if (body[alias] === undefined) continue
    if (body[field] === undefined) body[field] = body[alias]
    else if (body[field] !== body[alias]) lost.add(alias)
    delete body[alias]
  }
}

function gatherTemplateValues(body: Fields, lost: Set<string>): void {
  for (const [alias, name] of Object.entries(templateAliases)) {
    const value = body[alias]
    if (typeof value !== 'boolean') continue
    delete body[alias]
    body.chat_template_kwargs ??= {}
    const values = body.chat_template_kwargs
    if (!isFields(values)) return
    if (values[name] === undefined) values[name] = value
    else if (values[name] !== value) lost.add(alias)
  }
}

const limits = ['max_tokens', 'max_completion_tokens', 'max_output_tokens', 'min_tokens', 'top_k'] as const

function simplify(form: Form, body: Fields): void {
  for (const name of limits) {
    const value = body[name]
    if (typeof value === 'number' && value > largest && Number.isInteger(value)) body[name] = largest
  }
  // Ollama's "fill the context".
  for (const name of limits.slice(0, 3)) if (body[name] === -2) body[name] = -1
  // An empty stop string stops nothing.
  const { stop, logit_bias } = body
  if (stop === '') delete body.stop
  else if (Array.isArray(stop)) body.stop = stop.filter((text) => text !== '')
  if (form !== 'response') simplifyLogprobs(form, body)
  // llama.cpp's list of pairs.
  if (Array.isArray(logit_bias) && logit_bias.every((pair) => Array.isArray(pair) && pair.length === 2))
    body.logit_bias = Object.fromEntries(logit_bias)
}

/** A chat says whether, and of how many besides; a completion says of how many. Clients mistake one for the other. */
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
  const type = form === 'chat' ? 'text' : role === 'assistant' ? 'output_text' : 'input_text'
  for (const part of listOf(content)) if (isFields(part) && textParts.includes(part.type as string)) part.type = type
  // An empty list of parts is an empty text.
  if (Array.isArray(content) && content.length === 0) message.content = ''
  if (role !== 'assistant') return
  for (const name of thoughts) {
    if (typeof message[name] !== 'string') continue
    if (form === 'chat') message.reasoning_content ??= message[name]
    delete message[name]
  }
}

/** Items of a response's input that are no messages name what an earlier response holds. */
function checkItems(input: unknown): void {
  for (const [index, item] of listOf(input).entries()) {
    if (!isFields(item) || item.type === undefined || item.type === 'message') continue
    const type = typeof item.type === 'string' ? item.type.slice(0, 60) : 'another type'
    throw new ApiError(
      400,
      `input[${index}] is an item of type ${JSON.stringify(type)}, and only messages are taken: nothing is kept between requests, and there ` +
        'are no tools, so that every message must come whole, with its text (with store: false, clients send them so)',
      { code: 'unsupported_value', param: `input[${index}]` },
    )
  }
}
