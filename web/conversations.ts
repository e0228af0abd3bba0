/**
 * Conversations by place: one in this tab, and one for each endpoint address. What was said or
 * drafted in one place is never sent to another: changing the place shows its own conversation, and
 * changing back shows the old one again.
 */
import type { Message } from '../src/index.ts'
import type { Mode } from './protocol.ts'
import type { Times } from './times.ts'

export interface Turn {
  readonly question: string
  /** Text generated from a predicted cache, and from an exact one. */
  readonly early: string
  readonly late: string
  /** Whether the late text replaced what was shown before. */
  readonly corrected?: boolean
  readonly mode: Mode
  readonly times: Times
  /** Remarks about the answer, for the reader. */
  readonly notes: readonly string[]
  readonly failed?: string
  readonly running: boolean
}

export interface Conversation {
  readonly turns: readonly Turn[]
  readonly draft: string
  /** Stops the answer in progress. */
  readonly control?: AbortController
  /** The endpoint's model that turned out not to support prediction. */
  readonly plainModel?: string
}

export type Conversations = ReadonlyMap<string, Conversation>

export const empty: Conversation = { turns: [], draft: '' }

/**
 * Returns the conversations with one changed. Empty ones are dropped: typing an address creates one
 * for each letter.
 */
export function changed(all: Conversations, place: string, how: (old: Conversation) => Conversation): Conversations {
  const next = new Map(all)
  const now = how(next.get(place) ?? empty)
  if (now.turns.length > 0 || now.draft !== '' || now.control) next.set(place, now)
  else next.delete(place)
  return next
}

/** Returns a turn of whose answer only the first `offset` UTF-16 units stay: `late` comes after them. */
export function correctedTurn(turn: Turn, offset: number, late = ''): Turn {
  return { ...turn, early: (turn.early + turn.late).slice(0, offset), late, corrected: true }
}

/** Returns a conversation with its last turn changed. */
export function withLastTurn(one: Conversation, how: (turn: Turn) => Turn): Conversation {
  return { ...one, turns: one.turns.map((turn, at) => (at === one.turns.length - 1 ? how(turn) : turn)) }
}

/** Returns the messages for the model. A question without an answer is left out. */
export function messagesOf({ turns }: Conversation): Message[] {
  return turns
    .filter(({ early, late }) => early + late !== '')
    .flatMap(({ question, early, late }) => [
      { role: 'user' as const, content: question },
      { role: 'assistant' as const, content: early + late },
    ])
}
