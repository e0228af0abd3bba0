/** Writes a message as events: the message, its one block opened, deltas of text, both closed. */
import type { Choices } from '../choices.ts'
import type { Plan } from '../exchange.ts'
import { eventStream, frame, type StreamFormat } from '../sse.ts'
import { errorBody } from './failure.ts'
import type { MessagesEvent } from './schemas.ts'
import type { MessageShape } from './shape.ts'

const ping = (more: object = {}) => frame({ type: 'ping', ...more }, 'ping')

/** Server-sent events that are kept alive by pings. */
export const pinged: StreamFormat = { ...eventStream, keepAlive: ping() }

/** Returns what writes the events of a stream: a function for each event, and one for a failure. */
export function messageFrames(shape: MessageShape, requestId: string): Pick<Plan, 'frame' | 'failed'> {
  let begun = false
  let opened = false
  const begin = (answers: Pick<Choices, 'soFar'>) => {
    if (begun) return ''
    begun = true
    return event({ type: 'message_start', message: shape.begun(answers.soFar) })
  }
  const show = (text: string) => {
    if (text === '') return ''
    const delta = event({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text } })
    if (opened) return delta
    opened = true
    return event({ type: 'content_block_start', index: 0, content_block: shape.block('') }) + delta
  }
  return {
    frame(one, answers) {
      const start = begin(answers)
      if (one.type === 'progress')
        return start + ping({ foretoken: { progress: { done: one.done, total: one.total } } })
      if (one.type === 'token') return start + show(one.token.text)
      return (
        start +
        (opened ? event({ type: 'content_block_stop', index: 0 }) : '') +
        event({ type: 'message_delta', ...shape.ended(one.done) }) +
        event({ type: 'message_stop' })
      )
    },
    failed: (error) => frame(errorBody(error, requestId), 'error'),
  }
}

function event(data: MessagesEvent): string {
  return frame(data, data.type)
}
