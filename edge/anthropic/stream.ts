/**
 * Writes a message as events: the message begun, each of its blocks opened, written in deltas and
 * closed, the end of the message.
 */
import type { Choices } from '../choices.ts'
import type { ReadAnswer } from '../endpoints/collect.ts'
import { type ItemChange, ResponseItems } from '../endpoints/response-items.ts'
import type { Plan } from '../exchange.ts'
import { eventStream, frame, type StreamFormat } from '../sse.ts'
import type { MessagesEvent } from './answer-schemas.ts'
import { errorBody } from './failure.ts'
import { blockOf, type MessageShape } from './shape.ts'

const ping = (more: object = {}) => frame({ type: 'ping', ...more }, 'ping')

/** Server-sent events that are kept alive by pings. */
export const pinged: StreamFormat = { ...eventStream, keepAlive: ping() }

/** Returns what writes the events of a stream: a function for each event, and one for a failure. */
export function messageFrames(
  shape: MessageShape,
  answer: ReadAnswer,
  requestId: string,
): Pick<Plan, 'frame' | 'failed'> {
  const items = new ResponseItems()
  let begun = false
  const begin = (answers: Pick<Choices, 'soFar'>) => {
    if (begun) return ''
    begun = true
    return event({ type: 'message_start', message: shape.begun(answers.soFar) })
  }
  const write = (changes: readonly ItemChange[]) => changes.map((change) => event(changeEvent(change))).join('')
  return {
    frame(one, answers) {
      const start = begin(answers)
      if (one.type === 'progress')
        return start + ping({ foretoken: { progress: { done: one.done, total: one.total } } })
      const { parts: news } = answer.push(one)
      // What a client was shown can't be called back: the correction comes whole, at the end.
      const text = start + (answer.correction ? '' : write(news.flatMap((part) => items.add(part, answer.parts.calls))))
      if (one.type !== 'done') return text
      const corrected = answer.corrected(one.done)
      const { content } = shape.finished(one.done, answer.parts)
      return (
        text +
        write(items.close()) +
        (corrected ? ping({ foretoken: { correction: { ...corrected, content } } }) : '') +
        event({ type: 'message_delta', ...shape.ended(one.done, answer.parts) }) +
        event({ type: 'message_stop' })
      )
    },
    failed: (error) => frame(errorBody(error, requestId), 'error'),
  }
}

function changeEvent({ type, index, item, text }: ItemChange): MessagesEvent {
  if (type === 'open') return { type: 'content_block_start', index, content_block: blockOf({ ...item, text: '' }) }
  if (type === 'close') return { type: 'content_block_stop', index }
  if (item.type === 'message') return { type: 'content_block_delta', index, delta: { type: 'text_delta', text } }
  if (item.type === 'reasoning')
    return { type: 'content_block_delta', index, delta: { type: 'thinking_delta', thinking: text } }
  return { type: 'content_block_delta', index, delta: { type: 'input_json_delta', partial_json: text } }
}

function event(data: MessagesEvent): string {
  return frame(data, data.type)
}
