/** What runs in a text worker: templates and tokenizing, where they hold up nobody and can be ended. */
import { asForetokenError } from '../base/errors.ts'
import { promptIds } from './prompt.ts'
import type { FromTextWorker, ToTextWorker } from './text-messages.ts'
import { createTokenizer, type Tokenizer } from './tokenizer.ts'

/** Answers messages; returns what to do with each. */
export function serveText(send: (message: FromTextWorker) => void): (message: ToTextWorker) => void {
  let opened: ({ tokenizer: Tokenizer } & Extract<ToTextWorker, { type: 'open' }>) | undefined
  return (message) => {
    if (message.type === 'open') {
      opened = { ...message, tokenizer: createTokenizer(message.spec) }
      send({ type: 'opened' })
      return
    }
    const { id, prompt, options } = message
    try {
      const { tokenizer, spec, context } = opened!
      let begun = performance.now()
      const onTemplate = () => {
        begun = performance.now()
      }
      const ids = Uint32Array.from(promptIds(tokenizer, spec, prompt, { ...options, context, onTemplate }))
      send({ type: 'ids', id, ids, tokenizeMs: performance.now() - begun })
    } catch (error) {
      const { code, message: reason } = asForetokenError(error)
      send({ type: 'failed', id, code, message: reason })
    }
  }
}
