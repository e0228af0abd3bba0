/** All events of a run, by answer. */
import type { AnyEngine, DoneEvent } from '../../src/index.ts'
import type { ChoiceEvent } from '../choices.ts'
import { type VisibleToken, VisibleTokens } from './visible.ts'

export interface Answered {
  readonly done: DoneEvent
  /** Those of the text: neither the one that ended the turn, nor those of a stop string. */
  readonly tokens: readonly VisibleToken[]
}

/** (answers), in order. */
export async function collect(
  events: AsyncIterable<ChoiceEvent>,
  engine: AnyEngine,
  isEnd: (id: number) => boolean,
): Promise<Answered[]> {
  const answers: { done?: DoneEvent; tokens: VisibleToken[]; visible: VisibleTokens }[] = []
  for await (const event of events) {
    if (event.type === 'progress') continue
    const answer = (answers[event.index] ??= { tokens: [], visible: new VisibleTokens(engine, isEnd) })
    const shown = event.type === 'token' ? answer.visible.push(event.token) : answer.visible.finish()
    for (const token of shown) answer.tokens.push(token)
    if (event.type === 'done') answer.done = event.done
  }
  return answers as Answered[]
}

/** OpenAI has one word for both limits. */
export function finishReason({ finishReason }: DoneEvent): 'stop' | 'length' {
  return finishReason === 'stop' ? 'stop' : 'length'
}
