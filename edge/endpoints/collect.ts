/** Collects the events of a request by answer. */
import type { DoneEvent, TextService } from '../../src/index.ts'
import type { ChoiceEvent } from '../choices.ts'
import { type VisibleToken, VisibleTokens } from './visible.ts'

export interface Answered {
  readonly done: DoneEvent
  /** The tokens of the text, without the one that ended the turn and those of a stop string. */
  readonly tokens: readonly VisibleToken[]
}

/** Reads all events; resolves with the answers in order. */
export async function collect(
  events: AsyncIterable<ChoiceEvent>,
  engine: TextService,
  isEnd: (id: number) => boolean,
): Promise<Answered[]> {
  const answers: { tokens: VisibleToken[]; visible: VisibleTokens }[] = []
  const complete: Answered[] = []
  for await (const event of events) {
    if (event.type === 'progress') continue
    const answer = (answers[event.index] ??= { tokens: [], visible: new VisibleTokens(engine, isEnd) })
    const shown = event.type === 'token' ? answer.visible.push(event.token) : answer.visible.finish()
    for (const token of shown) answer.tokens.push(token)
    if (event.type === 'done') complete[event.index] = { done: event.done, tokens: answer.tokens }
  }
  return complete
}

/** Returns the reason as OpenAI names it, which has one word for both limits. */
export function finishReason({ finishReason }: DoneEvent): 'stop' | 'length' {
  return finishReason === 'stop' ? 'stop' : 'length'
}
