/** Reads a conversation again when another model comes into the tab. */
import { useEffect, useRef, useState } from 'preact/hooks'
import { beginningOf } from '../answering.ts'
import { type Conversation, messagesOf } from '../conversations.ts'
import type { Ready, TabEngine } from '../engine.ts'
import type { PageError } from '../page-error.ts'

/**
 * Returns what is to be said about it: that the model has read the conversation, or why it can't go
 * on with it.
 */
export function useReread(engine: TabEngine, ready: Ready | undefined, tab: Conversation): string | undefined {
  const [said, say] = useState<string | undefined>(undefined)
  const last = useRef<Ready | undefined>(undefined)
  const open = tab.turns.length > 0
  useEffect(() => {
    if (!ready) return
    const isNew = last.current !== undefined && last.current !== ready
    last.current = ready
    say(undefined)
    const messages = messagesOf(tab)
    if (!isNew || messages.length === 0) return
    const control = new AbortController()
    void beginningOf(messages, tab.tools)
      .then((question) => engine.readAhead(question, control.signal))
      .then(
        (tokens) => `${ready.name} has read this chat: ${tokens.toLocaleString('en')} tokens.`,
        // A question that comes first reads the chat itself.
        ({ code, message }: PageError) =>
          code === 'aborted' ? undefined : `${ready.name} can’t go on with this chat: ${message}. Begin a new one.`,
      )
      .then((text) => !control.signal.aborted && say(text))
    return () => control.abort()
  }, [ready])
  useEffect(() => {
    if (!open) say(undefined)
  }, [open])
  return said
}
