/** Reads a whole answer: thoughts, text and calls. */
import type { ToolFormat } from './format.ts'
import { type CallEvent, CallParser } from './parser.ts'
import { ThinkingReader, type ThinkingTags } from './thinking.ts'

/** A part of an answer, in order. */
export type AnswerPart = CallEvent | { readonly type: 'reasoning'; readonly text: string }

/** What an answer may contain beside text. */
export interface AnswerContents {
  /** How calls are written, which tools may be called, and whether one must; undefined if none may. */
  readonly calls?:
    | { readonly format: ToolFormat; readonly names: readonly string[]; readonly required?: boolean }
    | undefined
  /** How thoughts are marked; undefined if the model does not think. */
  readonly thinking?: (ThinkingTags & { readonly begun: boolean }) | undefined
}

/** Divides the text of one answer into parts while it streams. */
export class AnswerReader {
  readonly #thinking: ThinkingReader | undefined
  readonly #calls: CallParser | undefined
  #length = 0
  /** Where the text behind the thoughts begins. */
  #behind: number | undefined
  readonly #starts: number[] = []

  constructor({ calls, thinking }: AnswerContents) {
    this.#thinking = thinking && new ThinkingReader(thinking, thinking.begun)
    this.#calls = calls && new CallParser(calls.format, calls.names, calls.required)
  }

  /** Number of calls that have begun. */
  get calls(): number {
    return this.#calls?.calls ?? 0
  }

  /** Whether the text that comes next continues a thought. */
  get isThinking(): boolean {
    return this.#thinking?.isThinking ?? false
  }

  /** Returns where the text of a part of content began in the answer's text, in UTF-16 units; parts count from 0. */
  startOf(content: number): number {
    const start = this.#calls ? this.#calls.starts[content] : this.#starts[content]
    return (start ?? 0) + (this.#calls ? (this.#behind ?? 0) : 0)
  }

  /** Reads more text. Returns the parts that are certain now. */
  push(text: string): AnswerPart[] {
    this.#length += text.length
    if (!this.#thinking) return this.#content(text)
    return this.#thinking
      .push(text)
      .flatMap((part): AnswerPart[] =>
        part.type === 'content' ? this.#content(part.text) : [{ ...part, type: 'reasoning' }],
      )
  }

  /**
   * Ends the answer. Returns the rest. If the answer was `cut` short, what may be the beginning of a
   * call is left out.
   */
  finish(cut = false): AnswerPart[] {
    const parts = (this.#thinking?.finish() ?? []).flatMap((part): AnswerPart[] =>
      part.type === 'content' ? this.#content(part.text) : [{ ...part, type: 'reasoning' }],
    )
    return [...parts, ...(this.#calls?.finish(cut) ?? [])]
  }

  #content(text: string): AnswerPart[] {
    // It is the end of what has come.
    const at = this.#length - text.length
    this.#behind ??= at
    if (this.#calls) return this.#calls.push(text)
    if (text === '') return []
    this.#starts.push(at)
    return [{ type: 'content', text }]
  }
}
