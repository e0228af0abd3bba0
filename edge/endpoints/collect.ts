/** Collects the events of a request by answer. */
import { AnswerReader, type DoneEvent, type TextService, type ToolFormatName } from '../../src/index.ts'
import type { ChoiceEvent } from '../choices.ts'
import { AnswerParts } from './parts.ts'
import { type VisibleToken, VisibleTokens } from './visible.ts'

export interface Answered {
  readonly done: DoneEvent
  /** The tokens of the text, without the one that ended the turn and those of a stop string. */
  readonly tokens: readonly VisibleToken[]
  readonly parts: AnswerParts
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
  /** Default: an answer has no parts beside its text. */
  reader?(): AnswerReader
}

/** Returns what reads one answer. */
export function partsOf({ reader, format }: Reading): AnswerParts {
  return new AnswerParts(reader?.() ?? new AnswerReader({}), format)
}

/** Reads all events; resolves with the answers in order. */
export async function collect(events: AsyncIterable<ChoiceEvent>, reading: Reading): Promise<Answered[]> {
  const answers: { tokens: VisibleToken[]; visible: VisibleTokens; parts: AnswerParts }[] = []
  const complete: Answered[] = []
  for await (const event of events) {
    if (event.type === 'progress') continue
    const answer = (answers[event.index] ??= {
      tokens: [],
      visible: new VisibleTokens(reading),
      parts: partsOf(reading),
    })
    const { visible, parts } = answer
    const shown = event.type === 'token' ? visible.push(event.token) : visible.finish()
    for (const token of shown) answer.tokens.push(token)
    if (event.type === 'token') parts.push(event.token.text)
    else {
      parts.finish(event.done)
      complete[event.index] = { done: event.done, tokens: answer.tokens, parts }
    }
  }
  return complete
}

/** Returns the reason as OpenAI names it, which has one word for both limits. */
export function finishReason({ finishReason }: DoneEvent): 'stop' | 'length' {
  return finishReason === 'stop' ? 'stop' : 'length'
}
