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

  /** Reads more text. Returns the parts that are certain now. */
  push(text: string): AnswerPart[] {
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
    if (this.#calls) return this.#calls.push(text)
    return text === '' ? [] : [{ type: 'content', text }]
  }
}
