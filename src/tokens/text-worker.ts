/**
 * The text worker's side: renders templates and tokenizes where this blocks no one and can be
 * ended.
 */
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import { chunkSteps, mayHaveChunks } from './marked-chunks.ts'
import { promptIds } from './prompt.ts'
import type { FromTextWorker, ToTextWorker } from './text-messages.ts'
import { createTokenizer, type Tokenizer, toEnd } from './tokenizer.ts'

/** Returns a handler of messages, which answers through `send`. */
export function serveText(send: (message: FromTextWorker) => void): (message: ToTextWorker) => void {
  let opened: ({ tokenizer: Tokenizer } & Extract<ToTextWorker, { type: 'open' }>) | undefined
  return (message) => {
    if (message.type === 'open') {
      opened = { ...message, tokenizer: createTokenizer(message.spec) }
      send({ type: 'opened' })
      return
    }
    const {
      id,
      prompt,
      options: { chunks: wish, ...options },
    } = message
    try {
      if (!opened) throw new ForetokenError('internal', 'the text worker got a prompt before it was opened')
      const { tokenizer, spec, context } = opened
      let begun = performance.now()
      const onTemplate = () => {
        begun = performance.now()
      }
      const ids = promptIds(tokenizer, spec, prompt, { ...options, context, onTemplate })
      const chunks = mayHaveChunks(prompt, wish) ? toEnd(chunkSteps(tokenizer, prompt, ids, wish)) : undefined
      const tokenizeMs = performance.now() - begun
      send({ type: 'ids', id, ids: Uint32Array.from(ids), ...(chunks && { chunks }), tokenizeMs })
    } catch (error) {
      const { code, message: reason } = asForetokenError(error)
      send({ type: 'failed', id, code, message: reason })
    }
  }
}
