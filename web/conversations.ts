/**
 * Conversations, by where they live: one in this tab, one at each address of an endpoint. What was said or drafted in one place is never sent to another:
 * whoever changes the place finds another conversation, and their own again when they come back.
 */
import type { Message } from '../src/index.ts'
import type { Mode } from './protocol.ts'
import type { Times } from './times.ts'

export interface Turn {
  readonly question: string
  /** Shown from a predicted cache, and from an exact one. */
  readonly early: string
  readonly late: string
  readonly mode: Mode
  readonly times: Times
  /** What the reader should know of the answer. */
  readonly notes: readonly string[]
  readonly failed?: string
  readonly running: boolean
}

export interface Conversation {
  readonly turns: readonly Turn[]
  readonly draft: string
  /** Stops the answer that is being made. */
  readonly control?: AbortController
  /** The model at the endpoint that was found to know no prediction. */
  readonly plainModel?: string
}

export type Conversations = ReadonlyMap<string, Conversation>

export const empty: Conversation = { turns: [], draft: '' }

/** With one of them changed. Those that hold nothing are forgotten: an address that is typed makes one for each letter. */
export function changed(all: Conversations, place: string, how: (old: Conversation) => Conversation): Conversations {
  const next = new Map(all)
  const now = how(next.get(place) ?? empty)
  if (now.turns.length > 0 || now.draft !== '' || now.control) next.set(place, now)
  else next.delete(place)
  return next
}

/** With its last turn changed. */
export function withLastTurn(one: Conversation, how: (turn: Turn) => Turn): Conversation {
  return { ...one, turns: one.turns.map((turn, at) => (at === one.turns.length - 1 ? how(turn) : turn)) }
}

/** What the model is told of it. A question that found no answer is left out. */
export function messagesOf({ turns }: Conversation): Message[] {
  return turns
    .filter(({ early, late }) => early + late !== '')
    .flatMap(({ question, early, late }) => [
      { role: 'user' as const, content: question },
      { role: 'assistant' as const, content: early + late },
    ])
}
