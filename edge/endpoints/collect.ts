/** Collects the events of a request by answer. */
import {
  type AnswerPart,
  AnswerReader,
  type CorrectionEvent,
  type DoneEvent,
  type TextService,
  type TokenEvent,
  type ToolFormatName,
} from '../../src/index.ts'
import type { ChoiceEvent } from '../choices.ts'
import { AnswerParts } from './parts.ts'
import { type VisibleToken, VisibleTokens } from './visible.ts'

export interface Answered {
  readonly done: DoneEvent
  /** The tokens of the text, without the one that ended the turn and those of a stop string. */
  readonly tokens: readonly VisibleToken[]
  readonly parts: AnswerParts
  /** Where the answer was corrected; undefined if it was not. */
  readonly correction: CorrectionEvent | undefined
}

/** How the answers of a request are read. */
export interface Reading {
  readonly engine: TextService
  /** Returns true if a token ends a turn. */
  readonly isEnd: (id: number) => boolean
  /** Special tokens whose text is part of the answer. Default none. */
  readonly shown?: readonly number[] | undefined
  /** The format of calls; undefined if there are none. */
  readonly format?: ToolFormatName | undefined
  /** Whether an answer may be corrected. Default false. */
  readonly corrects?: boolean | undefined
  /** Default: an answer has no parts beside its text. */
  reader?(): AnswerReader
}

/** What one event of an answer shows. */
export interface News {
  readonly parts: readonly AnswerPart[]
  /** The tokens whose text is shown now. */
  readonly tokens: readonly VisibleToken[]
}

/** One answer, as it is read. */
export class ReadAnswer implements Omit<Answered, 'done'> {
  readonly #reading: Reading
  /** The events of its tokens, if it may be corrected. */
  readonly #events: TokenEvent[] = []
  #visible: VisibleTokens
  parts: AnswerParts
  tokens: VisibleToken[] = []
  correction: CorrectionEvent | undefined

  constructor(reading: Reading) {
    this.#reading = reading
    this.#visible = new VisibleTokens(reading)
    this.parts = new AnswerParts(reading.reader?.() ?? new AnswerReader({}), reading.format)
  }

  /** Reads an event. What is shown after a correction replaces what was shown before. */
  push(event: Exclude<ChoiceEvent, { type: 'progress' }>): News {
    if (event.type === 'correction') return this.#correct(event.correction)
    if (event.type === 'token') return this.#add(event.token)
    return this.#keep(this.parts.finish(event.done), this.#visible.finish())
  }

  /**
   * Returns what tells a client of the correction: the index of the first token that is replaced,
   * how much of the text stays, and the text from there; undefined if the answer was not corrected.
   */
  corrected({
    text,
  }: DoneEvent): { readonly token: number; readonly offset: number; readonly text: string } | undefined {
    if (!this.correction) return undefined
    const { index, offset } = this.correction
    return { token: index, offset, text: text.slice(offset) }
  }

  #add(token: TokenEvent): News {
    if (this.#reading.corrects) this.#events.push(token)
    return this.#keep(this.parts.push(token.text), this.#visible.push(token))
  }

  #correct(correction: CorrectionEvent): News {
    const kept = this.#events.slice(0, correction.index)
    const again = new ReadAnswer(this.#reading)
    for (const token of kept) again.#add(token)
    this.#events.length = kept.length
    this.#visible = again.#visible
    this.parts = again.parts
    this.tokens = again.tokens
    this.correction = correction
    return { parts: [], tokens: [] }
  }

  #keep(parts: readonly AnswerPart[], tokens: readonly VisibleToken[]): News {
    for (const token of tokens) this.tokens.push(token)
    return { parts, tokens }
  }
}

/** Reads all events; resolves with the answers in order. */
export async function collect(events: AsyncIterable<ChoiceEvent>, reading: Reading): Promise<Answered[]> {
  const answers: ReadAnswer[] = []
  const complete: Answered[] = []
  for await (const event of events) {
    if (event.type === 'progress') continue
    const answer = (answers[event.index] ??= new ReadAnswer(reading))
    answer.push(event)
    if (event.type !== 'done') continue
    const { tokens, parts, correction } = answer
    complete[event.index] = { done: event.done, tokens, parts, correction }
  }
  return complete
}

/** Returns the reason as OpenAI names it, which has one word for both limits. */
export function finishReason({ finishReason }: DoneEvent): 'stop' | 'length' {
  return finishReason === 'stop' ? 'stop' : 'length'
}
