/**
 * Runs exact prefill: every prompt token passes through every layer. Prompts lie end to end in full
 * passes.
 */
import { defined } from '../base/at.ts'
import { throwIfAborted } from '../base/cancelled.ts'
import { ForetokenError } from '../base/errors.ts'
import { nextTurn } from '../base/next-turn.ts'
import type { LoadedModel } from '../model/forward.ts'
import { pack } from '../pack/pack.ts'
import { passesOf } from '../pack/passes.ts'
import type { Prefill, PrefillOptions, Prompt } from './prefill.ts'

export class ExactPrefill implements Prefill {
  readonly kind = 'exact'
  readonly #model: Pick<LoadedModel, 'passTokens' | 'config' | 'forward'>

  constructor(model: Pick<LoadedModel, 'passTokens' | 'config' | 'forward'>) {
    this.#model = model
  }

  async run(prompts: readonly Prompt[], options: PrefillOptions = {}): Promise<Float32Array[]> {
    if (prompts.length === 0) throw new ForetokenError('empty_prompt', 'no prompts; give at least one')
    const empty = prompts.findIndex(({ ids }) => ids.length === 0)
    if (empty >= 0)
      throw new ForetokenError('empty_prompt', `prompt ${empty} has no tokens; give it at least one character`)
    const { signal, onProgress } = options
    const { passTokens, config } = this.#model
    const lengths = prompts.map(({ ids }) => ids.length)
    const total = lengths.reduce((sum, length) => sum + length, 0)
    const results: Float32Array[] = []
    let done = 0
    for (const pieces of passesOf(lengths, passTokens)) {
      if (done > 0) await nextTurn(signal)
      throwIfAborted(signal)
      const pass = pack(
        pieces.map(({ index, from, to }) => {
          const { sequence, ids } = defined(prompts[index])
          return { sequence, ids: ids.slice(from, to), outputs: to === ids.length ? 'last' : 'none' }
        }),
      )
      const logits = await this.#model.forward(pass)
      // Prompts end in their order, so the rows of logits have the same order.
      for (let row = 0; row < pass.outputs.length; row++)
        results.push(pass.outputs.length === 1 ? logits : logits.slice(row * config.vocab, (row + 1) * config.vocab))
      done += pass.ids.length
      onProgress?.(done, total)
    }
    return results
  }
}
