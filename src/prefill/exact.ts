/** Exact prefill: every prompt token through every layer, in chunks of at most one pass. */
import { ForetokenError } from '../errors.ts'
import type { Sequence } from '../kv/paged.ts'
import type { Llama } from '../model/llama.ts'
import { pack } from '../pack/pack.ts'
import { nextTurn, throwIfAborted } from '../turn.ts'
import type { Prefill, PrefillOptions } from './prefill.ts'

export class ExactPrefill implements Prefill {
  readonly kind = 'exact'
  readonly #model: Llama

  constructor(model: Llama) {
    this.#model = model
  }

  async run(sequence: Sequence, ids: readonly number[], options: PrefillOptions = {}): Promise<Float32Array> {
    if (ids.length === 0)
      throw new ForetokenError('empty_prompt', 'the prompt has no tokens; give it at least one character')
    const { signal, onProgress } = options
    const size = this.#model.passTokens
    for (let at = 0; ; at += size) {
      throwIfAborted(signal)
      const chunk = ids.slice(at, at + size)
      const done = at + chunk.length
      const outputs = done === ids.length ? 'last' : 'none'
      const logits = await this.#model.forward(pack([{ sequence, ids: chunk, outputs }]))
      onProgress?.(done, ids.length)
      if (done === ids.length) return logits
      await nextTurn(signal)
    }
  }
}
