/** Reads the messages of Ollama's API, in which calls need no ids. */
import type { BodyCall, BodyMessage } from '../endpoints/messages.ts'
import type { ChatRequest } from './schemas.ts'

interface Call extends BodyCall {
  readonly id: string
}

/**
 * Returns the messages of a body. A call without an id gets one, and a result without an id is that
 * of the first call of its tool that has none yet.
 */
export function conversationOf({ messages }: Pick<ChatRequest, 'messages'>): BodyMessage[] {
  let open: readonly Call[] = []
  let turn: readonly Call[] = []
  let number = 0
  return (messages ?? []).map((message, index): BodyMessage => {
    const { role, content, thinking: reasoning, tool_name, tool_call_id } = message
    const path = `messages[${index}]`
    if (role === 'tool') {
      const fits = ({ id, name }: Call) => (tool_call_id ? id === tool_call_id : !tool_name || name === tool_name)
      // If all calls have their results, this is a second result of one.
      const answered = open.find(fits) ?? turn.find(fits)
      open = open.filter((call) => call !== answered)
      const id = answered?.id ?? tool_call_id ?? tool_name ?? ''
      return {
        role,
        content: content ?? '',
        answers: { id, path: `${path}.${tool_call_id ? 'tool_call_id' : 'tool_name'}` },
      }
    }
    const calls = (role === 'assistant' ? (message.tool_calls ?? []) : []).map(
      ({ id, function: { name, arguments: given } }, at): Call => ({
        // Some templates take ids of nine letters and digits only.
        id: id || `call${String(++number).padStart(5, '0')}`,
        name,
        arguments: given,
        path: `${path}.tool_calls[${at}].function.arguments`,
        idPath: `${path}.tool_calls[${at}].id`,
      }),
    )
    open = turn = calls
    return { role, content: content ?? (calls.length > 0 ? null : ''), reasoning, calls }
  })
}
