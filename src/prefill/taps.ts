/**
 * Gathers the inputs of a predictor: a token's own normed state, and those of the positions just
 * before it.
 */

import type { Backend, Tensor } from '../backend/backend.ts'
import { defined } from '../base/at.ts'
import type { Pass, Segment, SequenceStates } from '../base/pass.ts'
import { freshOf } from '../pack/rows.ts'

/** A sequence in a pass: the rows of its positions, and the first position. */
interface Known {
  readonly states: SequenceStates
  readonly rows: Map<number, number>
  first: number
  last: number
}

export class Taps {
  readonly #backend: Backend
  readonly #hidden: number
  readonly #tokens: number
  readonly #input: Tensor // (tokens, inputs)
  /** Normed states of all rows of a pass, then a row of zeros, then states of earlier passes. */
  #normed: Tensor // (tokens + 1 + ..., hidden)

  constructor(backend: Backend, inputs: number, hidden: number, tokens: number) {
    this.#backend = backend
    this.#hidden = hidden
    this.#tokens = tokens
    this.#input = backend.tensor(tokens, inputs)
    this.#normed = backend.tensor(inputs > hidden ? tokens + 65 : 0, hidden)
  }

  /**
   * Returns the inputs of the first `rows` rows of the pass at source `index`, (rows, (1 + taps)
   * hidden). `normed(out, from, rows)` norms rows of the residual stream. The states that the next
   * pass of a sequence needs are kept with the sequence.
   */
  async gather(
    pass: Pass,
    index: number,
    taps: number,
    rows: number,
    normed: (out: Tensor, from: number, rows: number) => void,
  ): Promise<Tensor> {
    const backend = this.#backend
    const hidden = this.#hidden
    const input = backend.columns(this.#input, 0, (1 + taps) * hidden)
    if (rows === 0 && !freshOf(pass).some(waits)) return input
    if (taps === 0) {
      if (rows > 0) normed(input, 0, rows)
      return input
    }
    const known = knownOf(pass)
    this.#room(known.size * taps)
    normed(this.#normed, 0, pass.ids.length)
    this.#recall(known, index, taps)
    for (let tap = 0; rows > 0 && tap <= taps; tap++) {
      const picked = pass.segments
        .filter(({ start }) => start < rows)
        .flatMap(({ states, length, past }) => {
          const { rows } = defined(known.get(defined(states)))
          return Array.from({ length }, (_, i) => rows.get(past + i - tap) ?? this.#tokens)
        })
      backend.gatherRows(backend.columns(input, tap * hidden, hidden), this.#normed, picked)
    }
    await this.#remember(known, index, taps)
    return input
  }

  #room(extra: number): void {
    const rows = this.#tokens + 1 + extra
    if (this.#normed.rows < rows) this.#normed = this.#backend.tensor(rows, this.#hidden)
  }

  /** Copies states of earlier passes to the end of the rows of this one. */
  #recall(known: ReadonlyMap<SequenceStates, Known>, index: number, taps: number): void {
    let next = this.#tokens + 1
    for (const { states, rows, first } of known.values()) {
      const tail = states.tails.get(index)
      if (!tail) continue
      this.#backend.write(this.#normed, next, tail)
      for (let i = 0; i < taps; i++) rows.set(first - taps + i, next++)
    }
  }

  async #remember(known: ReadonlyMap<SequenceStates, Known>, index: number, taps: number): Promise<void> {
    const hidden = this.#hidden
    for (const { states, rows, last } of known.values()) {
      if (last + 1 >= states.until) continue
      const tail = new Float32Array(taps * hidden)
      for (let i = 0; i < taps; i++) {
        const row = rows.get(last - taps + 1 + i)
        if (row !== undefined) tail.set(await this.#backend.read(this.#backend.rows(this.#normed, row), 1), i * hidden)
      }
      states.tails.set(index, tail)
    }
  }
}

/** Returns true if a later pass will predict tokens after these. */
function waits({ states, past, length }: Segment): boolean {
  return states !== undefined && past + length < states.until
}

function knownOf(pass: Pass): Map<SequenceStates, Known> {
  const known = new Map<SequenceStates, Known>()
  for (const { states, start, length, past } of freshOf(pass)) {
    if (!states || past >= states.until) continue
    const one = known.get(states) ?? { states, rows: new Map<number, number>(), first: past, last: past }
    known.set(states, one)
    one.first = Math.min(one.first, past)
    one.last = Math.max(one.last, past + length - 1)
    for (let i = 0; i < length; i++) one.rows.set(past + i, start + i)
  }
  return known
}
