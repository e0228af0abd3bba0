/** Turns the messages of a body into those of a chat template, and checks calls and their results. */
import type { ChatMessage, TextPart, ToolCall } from '../../src/index.ts'
import { ApiError } from '../errors.ts'

type Content = string | readonly BodyPart[] | null | undefined

/** A part of a message's content. */
export interface BodyPart {
  readonly text: string
  /** Whether it is a chunk that comes again in other prompts. */
  readonly chunk?: boolean
}

/** A call of a body. */
export interface BodyCall {
  readonly id?: string | null | undefined
  readonly name: string
  readonly arguments?: string | Readonly<Record<string, unknown>> | null | undefined
  /** The place of its arguments in the body. */
  readonly path: string
  /** The place of its id. */
  readonly idPath: string
}

/** A message of a body, whatever API it belongs to. */
export interface BodyMessage {
  readonly role: 'system' | 'developer' | 'user' | 'assistant' | 'tool'
  readonly content?: Content
  readonly name?: string | null | undefined
  readonly reasoning?: string | null | undefined
  readonly calls?: readonly BodyCall[]
  /** Names the call that a tool's result answers, by its id, and the place of the result in the body. */
  readonly answers?: { readonly id: string; readonly path: string }
}

/**
 * Returns the messages of a chat template. It has no role of a developer: OpenAI calls it a system
 * message for other models. Throws an ApiError of 400 for a result without its call, a second result
 * of a call, two calls of a turn with one id, and arguments that are not a JSON object.
 */
export function messagesOf(messages: readonly BodyMessage[]): ChatMessage[] {
  let turn = new OpenCalls([])
  return messages.map(({ role, content = null, name, reasoning, calls = [], answers }) => {
    if (answers) turn.answer(answers)
    else turn = new OpenCalls(calls)
    return {
      role: role === 'developer' ? 'system' : role,
      content: typeof content === 'string' || !content ? content : content.map(partOf),
      ...(name && { name }),
      ...(reasoning && { reasoning_content: reasoning }),
      ...(calls.length > 0 && { tool_calls: calls.map(callOf) }),
      ...(answers && { tool_call_id: answers.id }),
    } as ChatMessage
  })
}

/** Returns whether any part of a prompt is marked as a chunk. */
export function marksChunks(prompt: readonly ChatMessage[]): boolean {
  return prompt.some(({ content }) => typeof content === 'object' && content?.some(({ chunk }) => chunk))
}

function partOf({ text, chunk }: BodyPart): TextPart {
  return { type: 'text', text, ...(chunk && { chunk }) }
}

/** The calls of one turn, each of which has one result. Clients number calls anew in each turn. */
class OpenCalls {
  readonly #ids = new Set<string>()
  readonly #answered = new Set<string>()
  /** Number of calls without an id, which a result of any other id may answer. */
  #nameless = 0

  constructor(calls: readonly BodyCall[]) {
    for (const { id, idPath } of calls)
      if (!id) this.#nameless++
      else if (this.#ids.has(id)) throw wrongAt(idPath, `two calls have the id ${shown(id)}; give each its own`)
      else this.#ids.add(id)
  }

  answer({ id, path }: { readonly id: string; readonly path: string }): void {
    if (this.#answered.has(id))
      throw wrongAt(path, `this is a second result of call ${shown(id)}; a call has one result`)
    const before =
      this.#ids.size + this.#nameless === 0 ? 'no calls come before it' : 'the calls before it have other ids'
    if (!this.#ids.has(id) && this.#nameless-- <= 0)
      throw wrongAt(path, `this is the result of call ${shown(id)}, and ${before}`)
    this.#answered.add(id)
  }
}

function shown(id: string): string {
  return JSON.stringify(id.slice(0, 64))
}

function wrongAt(path: string, why: string): ApiError {
  return new ApiError(400, `${path}: ${why}`, { code: 'invalid_value', param: path })
}

function callOf({ id, name, arguments: given, path }: BodyCall): ToolCall {
  return { ...(id && { id }), type: 'function', function: { name, arguments: argumentsOf(given, path) } }
}

/** Maximum nesting of arguments, which renderers walk recursively. */
const deepest = 64

function argumentsOf(given: BodyCall['arguments'], path: string): Readonly<Record<string, unknown>> {
  if (typeof given === 'object' && given !== null) return given
  // Some models call a function without arguments by an empty text.
  if (given === undefined || given === null || given.trim() === '') return {}
  let value: unknown
  try {
    value = JSON.parse(given)
  } catch {
    throw wrongAt(path, 'arguments must be JSON; send back what the model wrote only if it is')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw wrongAt(path, 'arguments must be a JSON object')
  if (isDeeper(value, deepest)) throw wrongAt(path, `arguments must not be nested more than ${deepest} deep`)
  return value as Readonly<Record<string, unknown>>
}

function isDeeper(value: object, most: number): boolean {
  let level: object[] = [value]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth === most) return true
    level = level.flatMap((each) => Object.values(each).filter((item) => typeof item === 'object' && item !== null))
  }
  return false
}
