/** Turns the messages of a body into those of a chat template. */
import type { ChatMessage } from '../../src/index.ts'

interface BodyMessage {
  readonly role: 'system' | 'developer' | 'user' | 'assistant'
  readonly content?: string | readonly { readonly text: string }[] | null | undefined
  readonly name?: string | null | undefined
  readonly reasoning_content?: string | null | undefined
}

/**
 * Returns one message. Templates have no role of a developer: OpenAI calls it a system message for
 * other models.
 */
export function messageOf({ role, content = null, name, reasoning_content }: BodyMessage): ChatMessage {
  return {
    role: role === 'developer' ? 'system' : role,
    content: typeof content === 'string' || !content ? content : content.map(({ text }) => ({ type: 'text', text })),
    ...(name && { name }),
    ...(reasoning_content && { reasoning_content }),
  } as ChatMessage
}
