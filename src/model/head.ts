/**
 * Runs the last step of a model: from rows of the residual stream to logits, a few rows at a time.
 */
import type { Backend, Scores, Tensor, Weight } from '../backend/backend.ts'
import { at, defined } from '../base/at.ts'
import type { ModelArchive, ModelSpec } from '../base/model.ts'
import { maskTokenless, paddingOf } from './tokenless.ts'

/** Says whether logits are valid until the next that are lent, or for good. */
export type Lending = 'lent' | 'own'

export interface HeadParts {
  readonly backend: Backend
  readonly archive: Pick<ModelArchive, 'config' | 'tokenless'>
  readonly spec: ModelSpec
  readonly norm: Tensor // (1, hidden)
  /** (vocab, hidden), in one part or several. */
  readonly weights: readonly Weight[]
  readonly last: Tensor // (rows, hidden): the rows at hand, normed
  readonly logits: Tensor // (rows, vocab)
}

export class Head {
  readonly #parts: HeadParts
  /** The first columns of the logits, up to the last that has a token. */
  readonly #named: Tensor
  /**
   * Logits of a pass whose caller needs them only until the next: half a megabyte a token would be
   * left to the collector.
   */
  #lent = new Float32Array(0)
  /**
   * Entries of the longest list of a row: 0 if the backend makes none, and if rows of the
   * vocabulary without a token lie among the others, so that a list might hold one.
   */
  readonly #longest: number

  constructor(parts: HeadParts) {
    const { backend, logits } = parts
    const { config, tokenless } = parts.archive
    this.#parts = parts
    const padding = paddingOf(tokenless, config.vocab)
    const named = config.vocab - padding
    this.#named = backend.columns(logits, 0, named)
    this.#longest = tokenless.length > padding ? 0 : Math.min(backend.shortlists?.longest ?? 0, named)
  }

  /**
   * Returns the logits of rows `picked` of `states`, (picked, vocab); -Infinity for rows of the
   * vocabulary without a token.
   */
  async logits(states: Tensor, picked: readonly number[], lending: Lending): Promise<Float32Array> {
    const { backend, archive, logits } = this.#parts
    const { vocab } = archive.config
    const all = this.#room(picked.length * vocab, lending)
    await this.#score(states, picked, (rows, from) => backend.read(logits, rows, all.subarray(from * vocab)))
    for (let row = 0; row < picked.length; row++) maskTokenless(all.subarray(row * vocab, (row + 1) * vocab), archive)
    return all
  }

  /**
   * Returns scores of each of the rows `picked` of `states`: a shortlist of at least its number of
   * `bests`, or all logits, which are valid until the next that are lent, if a list can't be as
   * long. Which of them a row gets does not depend on the others.
   */
  async scores(states: Tensor, picked: readonly number[], bests: readonly number[]): Promise<Scores[]> {
    const { backend, archive, logits } = this.#parts
    const { vocab } = archive.config
    const { shortlists } = backend
    const short = (best: number) => best <= this.#longest
    if (!shortlists || !bests.some(short)) {
      const all = await this.logits(states, picked, 'lent')
      return picked.map((_, row) => all.subarray(row * vocab, (row + 1) * vocab))
    }
    const all = bests.every(short) ? undefined : this.#room(picked.length * vocab, 'lent')
    const scores: Scores[] = []
    await this.#score(states, picked, async (rows, from) => {
      const own = bests.slice(from, from + rows)
      const count = Math.max(1, ...own.filter(short))
      const lists = own.some(short) ? await shortlists.of(this.#named, rows, count) : []
      if (!own.every(short)) await backend.read(logits, rows, all?.subarray(from * vocab))
      own.forEach((best, index) => {
        const whole = all?.subarray((from + index) * vocab, (from + index + 1) * vocab)
        if (whole && !short(best)) maskTokenless(whole, archive)
        scores.push(short(best) ? at(lists, index) : defined(whole))
      })
    })
    return scores
  }

  /**
   * Returns rows `picked` of `states` after the last norm, (picked, hidden). `scratch` is (rows,
   * hidden or more), and `states` is overwritten: call it after everything else of the pass.
   */
  async normed(states: Tensor, picked: readonly number[], scratch: Tensor): Promise<Float32Array> {
    const { backend, spec, norm } = this.#parts
    const rows = backend.columns(scratch, 0, states.cols)
    backend.gatherRows(rows, states, picked)
    // Written back to `states`, whose rows lie side by side, so that one copy reads them all.
    backend.rmsNorm(states, rows, norm, spec.rmsEps, picked.length)
    return backend.read(states, picked.length)
  }

  /**
   * Makes the logits of as many rows as there is room for at once; `read` reads the first `rows`,
   * those of `picked` from `from` on.
   */
  async #score(
    states: Tensor,
    picked: readonly number[],
    read: (rows: number, from: number) => Promise<unknown>,
  ): Promise<void> {
    const { backend, spec, norm, weights, last, logits } = this.#parts
    const { rmsEps, logitScale, logitSoftCap } = spec
    for (let from = 0; from < picked.length; from += logits.rows) {
      const rows = picked.slice(from, from + logits.rows)
      backend.gatherRows(last, states, rows)
      backend.rmsNorm(last, last, norm, rmsEps, rows.length)
      backend.matmul(logits, last, weights, rows.length)
      if (logitScale !== 1) backend.scale(logits, logitScale, rows.length)
      if (logitSoftCap !== undefined) backend.softCap(logits, logitSoftCap, rows.length)
      await read(rows.length, from)
    }
  }

  #room(values: number, lending: Lending): Float32Array {
    if (lending === 'own') return new Float32Array(values)
    if (this.#lent.length < values) this.#lent = new Float32Array(values)
    return this.#lent.subarray(0, values)
  }
}
