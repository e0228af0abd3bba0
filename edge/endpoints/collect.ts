/** All events of a run, by answer. */
import type { DoneEvent, TokenEvent } from '../../src/index.ts'
import type { RunEvent } from '../run.ts'

export interface Answered {
  readonly done: DoneEvent
  /** Those of the text: not the one that ended the turn. */
  readonly tokens: readonly TokenEvent[]
}

/** (answers), in order. */
export async function collect(events: AsyncIterable<RunEvent>, isEnd: (id: number) => boolean): Promise<Answered[]> {
  const answers: { done?: DoneEvent; tokens: TokenEvent[] }[] = []
  for await (const event of events) {
    if (event.type === 'progress') continue
    const answer = (answers[event.index] ??= { tokens: [] })
    if (event.type === 'done') answer.done = event.done
    else if (!isEnd(event.token.id)) answer.tokens.push(event.token)
  }
  return answers as Answered[]
}

/** OpenAI has one word for both limits. */
export function finishReason({ finishReason }: DoneEvent): 'stop' | 'length' {
  return finishReason === 'stop' ? 'stop' : 'length'
}
