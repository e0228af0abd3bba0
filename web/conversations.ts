/**
 * Conversations by place: one in this tab, and one for each endpoint address. What was said or
 * drafted in one place is never sent to another: changing the place shows its own conversation, and
 * changing back shows the old one again.
 */
import type { Message } from '../src/index.ts'
import type { Mode } from './protocol.ts'
import type { Times } from './times.ts'

/** A call of a tool as it is shown. */
export interface ShownCall {
  readonly name: string
  /** The arguments as JSON text, as far as the model has written them. */
  readonly arguments: string
  readonly result?: string
}

/** One answer of the model within a turn: the last one, or one that called tools. */
export interface TurnStep {
  /** Text generated from a predicted cache, and from an exact one. */
  readonly early: string
  readonly late: string
  /** Whether the late text replaced what was shown before. */
  readonly corrected?: boolean
  readonly calls: readonly ShownCall[]
}

export interface Turn {
  readonly question: string
  /** At least one; the last is in progress while the turn runs. */
  readonly steps: readonly TurnStep[]
  readonly mode: Mode
  /** The model in the tab that answers; undefined at an endpoint. */
  readonly model?: string
  readonly times: Times
  /** Whether the answer was asked for with a schema. */
  readonly shaped: boolean
  /** Remarks about the answer, for the reader. */
  readonly notes: readonly string[]
  /** The messages that answered the question, of a turn with tools that is complete. */
  readonly said?: readonly Message[]
  readonly failed?: string
  readonly running: boolean
}

export const firstStep: TurnStep = { early: '', late: '', calls: [] }

export interface Conversation {
  readonly turns: readonly Turn[]
  readonly draft: string
  /** The JSON schema of the answers as it was typed; '' for any text. */
  readonly schema: string
  /** Whether the model has tools, and whether it must call one. */
  readonly tools: ToolUse
  /** Stops the answer in progress. */
  readonly control?: AbortController
  /** The endpoint's model that turned out not to support prediction. */
  readonly plainModel?: string
}

export type ToolUse = 'off' | 'auto' | 'required'

export type Conversations = ReadonlyMap<string, Conversation>

export const empty: Conversation = { turns: [], draft: '', schema: '', tools: 'off' }

/**
 * Returns the conversations with one changed. Empty ones are dropped: typing an address creates one
 * for each letter.
 */
export function changed(all: Conversations, place: string, how: (old: Conversation) => Conversation): Conversations {
  const next = new Map(all)
  const now = how(next.get(place) ?? empty)
  const { turns, draft, schema, tools, control } = now
  if (turns.length > 0 || draft !== '' || schema !== '' || tools !== 'off' || control) next.set(place, now)
  else next.delete(place)
  return next
}

/** Returns a conversation with its last turn changed. */
export function withLastTurn(one: Conversation, how: (turn: Turn) => Turn): Conversation {
  return { ...one, turns: one.turns.map((turn, at) => (at === one.turns.length - 1 ? how(turn) : turn)) }
}

/** Returns a turn with its last step changed. */
export function withLastStep(turn: Turn, how: (step: TurnStep) => TurnStep): Turn {
  return { ...turn, steps: turn.steps.map((step, at) => (at === turn.steps.length - 1 ? how(step) : step)) }
}

/** Returns a step whose text is replaced: what it begins with in common stays, and its calls are void. */
export function correctedStep({ early, late }: TurnStep, text: string): TurnStep {
  const before = early + late
  let kept = 0
  while (kept < before.length && before[kept] === text[kept]) kept++
  return { early: text.slice(0, kept), late: text.slice(kept), calls: [], corrected: true }
}

/** Returns the text of a turn's answer, without its calls. */
export function textOf({ steps }: Turn): string {
  return steps.map(({ early, late }) => early + late).join('')
}

/** Returns the messages for the model. A question without an answer is left out. */
export function messagesOf({ turns }: Conversation): Message[] {
  return turns.flatMap((turn): Message[] => {
    const question = { role: 'user' as const, content: turn.question }
    if (turn.said) return turn.said.at(-1)?.content ? [question, ...turn.said] : []
    const content = textOf(turn)
    return content === '' ? [] : [question, { role: 'assistant', content }]
  })
}
