/** Collects the parts of an answer: its text, its thoughts and its calls. */
import type { AnswerPart, AnswerReader, DoneEvent, ToolFormatName } from '../../src/index.ts'
import { newId } from '../ids.ts'

/** A call of a tool in an answer. */
export interface AnsweredCall {
  readonly id: string
  readonly name: string
  arguments: string
}

/**
 * Returns the arguments of a call, or undefined if they are no JSON object: the answer ended in their
 * middle, or the model wrote something else.
 */
export function objectOf(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
    return isObject ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

/** Reads one answer, and keeps what it has read. */
export class AnswerParts {
  readonly #reader: AnswerReader
  readonly #format: ToolFormatName | undefined
  /** The answer's text without thoughts and calls. */
  content = ''
  reasoning = ''
  /** Number of tokens of thoughts. */
  reasoningTokens = 0
  readonly calls: AnsweredCall[] = []
  /** All parts so far, in order; adjacent ones are not joined. */
  readonly all: AnswerPart[] = []
  /** Where the text of each part of content began in the answer's text. */
  readonly starts = new Map<AnswerPart, number>()
  #contents = 0

  constructor(reader: AnswerReader, format: ToolFormatName | undefined) {
    this.#reader = reader
    this.#format = format
  }

  /** Reads the text of one more token. Returns the parts that are certain now. */
  push(text: string): readonly AnswerPart[] {
    const before = this.#reader.isThinking
    const parts = this.#reader.push(text)
    if (before || this.#reader.isThinking) this.reasoningTokens++
    return this.#keep(parts)
  }

  /** Ends the answer. Returns the rest. */
  finish(done: DoneEvent): readonly AnswerPart[] {
    return this.#keep(this.#reader.finish(done.finishReason !== 'stop' || done.stop !== undefined))
  }

  /** Returns the reason for the end as OpenAI names it, which has one word for both limits. */
  finishReason({ finishReason }: DoneEvent): 'stop' | 'length' | 'tool_calls' {
    if (finishReason !== 'stop') return 'length'
    return this.endsInCall ? 'tool_calls' : 'stop'
  }

  /** Whether the answer has calls, and its last one is whole: a stop string may end it in the middle. */
  get endsInCall(): boolean {
    const last = this.calls.at(-1)
    return last !== undefined && objectOf(last.arguments) !== undefined
  }

  #keep(parts: readonly AnswerPart[]): readonly AnswerPart[] {
    for (const part of parts) {
      this.all.push(part)
      if (part.type === 'content') {
        this.content += part.text
        this.starts.set(part, this.#reader.startOf(this.#contents++))
      }
      if (part.type === 'reasoning') this.reasoning += part.text
      else if (part.type === 'call') this.calls.push({ id: newCallId(this.#format), name: part.name, arguments: '' })
      else if (part.type === 'arguments') {
        const call = this.calls[part.index]
        if (call) call.arguments += part.text
      }
    }
    return parts
  }
}

/** Mistral's templates want ids of nine letters and digits. */
function newCallId(format: ToolFormatName | undefined): string {
  const id = newId('call', '_')
  return format === 'mistral' || format === 'mistral-args' ? id.slice(-9) : id
}
