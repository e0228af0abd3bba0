/** Messages of a body as chat templates are given them. */
import type { ChatMessage } from '../../src/index.ts'

interface Given {
  readonly role: 'system' | 'developer' | 'user' | 'assistant'
  readonly content?: string | readonly { readonly text: string }[] | null | undefined
  readonly name?: string | null | undefined
  readonly reasoning_content?: string | null | undefined
}

/** Templates know no developer; a system message is what OpenAI calls it for other models. */
export function messageOf({ role, content = null, name, reasoning_content }: Given): ChatMessage {
  return {
    role: role === 'developer' ? 'system' : role,
    content: typeof content === 'string' || !content ? content : content.map(({ text }) => ({ type: 'text', text })),
    ...(name && { name }),
    ...(reasoning_content && { reasoning_content }),
  } as ChatMessage
}
