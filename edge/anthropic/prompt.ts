/** Makes a prompt of Anthropic's conversation. */
import type { ChatMessage, GenerateRequest, TextPart } from '../../src/index.ts'
import { templateOptionsOf } from '../endpoints/options.ts'
import type { Conversation } from './schemas.ts'

/** The prompt, and how the chat template reads it. */
export type Prompted = Pick<GenerateRequest, 'prompt' | 'templateValues' | 'continueFinal'>

/**
 * Returns the prompt of a conversation. As the contract says, messages of one role in a row are one
 * turn, and the model continues a last message of the assistant.
 */
export function promptedBy({ system, messages, thinking, chat_template_kwargs }: Conversation): Prompted {
  const turns = [...(system?.length ? [turnOf({ role: 'system', content: system })] : []), ...messages.map(turnOf)]
  const joined: Turn[] = []
  for (const turn of turns) {
    const last = joined.at(-1)
    if (last?.role === turn.role) joined[joined.length - 1] = together(last, turn)
    else joined.push(turn)
  }
  const think = thinking && { enable_thinking: thinking.type !== 'disabled' }
  const continues = joined.at(-1)?.role === 'assistant'
  return {
    prompt: joined.map(messageOf),
    ...templateOptionsOf({
      chat_template_kwargs: { ...think, ...chat_template_kwargs },
      continue_final_message: continues,
    }),
  }
}

interface Turn {
  readonly role: 'system' | 'user' | 'assistant'
  readonly texts: readonly string[]
  readonly thoughts: readonly string[]
}

function turnOf({ role, content }: Conversation['messages'][number]): Turn {
  if (typeof content === 'string') return { role, texts: [content], thoughts: [] }
  return {
    role,
    texts: content.flatMap((block) => (block.type === 'text' ? [block.text] : [])),
    thoughts: content.flatMap((block) => (block.type === 'thinking' ? [block.thinking] : [])),
  }
}

/** Joins two turns of one role: their texts become parts of one. */
function together(first: Turn, second: Turn): Turn {
  return {
    role: first.role,
    texts: [...first.texts, ...second.texts],
    thoughts: [...first.thoughts, ...second.thoughts],
  }
}

function messageOf({ role, texts, thoughts }: Turn): ChatMessage {
  const [only = ''] = texts
  const parts = texts.map((text): TextPart => ({ type: 'text', text }))
  const rest = { role, ...(thoughts.length > 0 && { reasoning_content: thoughts.join('\n\n') }) }
  return texts.length > 1 ? { ...rest, content: parts } : { ...rest, content: only }
}
