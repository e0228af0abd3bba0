/**
 * Compares greedy answers of two implementations that round differently. Where the two best logits
 * are nearly equal, either token is right, and the answers go on from different texts: so tokens
 * are compared up to the first such place, log-probabilities within a bound, and most tokens must
 * come before such places.
 */
import { expect } from 'vitest'
import type { DoneEvent, GenerateEvent, ModelConfig, TokenEvent } from '../../src/index.ts'

/** A greedy answer; ask for at least two `topLogprobs`. */
export interface Greedy {
  readonly ids: readonly number[]
  readonly tokens: readonly TokenEvent[]
  readonly done: DoneEvent
}

/** An answer of which perhaps only the ids are known. */
export type Given = Pick<Greedy, 'ids'> & Partial<Greedy>

/** Reads an answer to its end. */
export async function greedyOf(answer: AsyncIterable<GenerateEvent>): Promise<Greedy> {
  const tokens: TokenEvent[] = []
  let done: DoneEvent | undefined
  for await (const event of answer)
    if (event.type === 'token') tokens.push(event)
    else if (event.type === 'done') done = event
  if (!done) throw new Error('an answer without an end')
  return { ids: done.ids, tokens, done }
}

/** Relative error of storing a number, by the type of the pages. */
const stored = { f32: 0, f16: 2 ** -11, int8: 1 / 254 }

/**
 * Returns how far two implementations' logits may be apart. A product of n terms in f32 is off by n
 * roundings at most, a token's logits are the last of seven products a layer and one more, and a
 * logit of these models is at most 4. Stored K and V add a rounding each, which may fall to either
 * side.
 */
export function logitBound(
  { hidden, intermediate, layers }: Pick<ModelConfig, 'hidden' | 'intermediate' | 'layers'>,
  kv: keyof typeof stored = 'f32',
): number {
  const longest = Math.max(hidden, intermediate)
  return 4 * (7 * layers + 1) * (longest * 2 ** -24 + (2 * stored[kv]) / 7)
}

/** Expects of each pair that `got` is right where `want` is, but for logits that are `bound` off. */
export function expectNearlySame(pairs: readonly (readonly [got: Given, want: Greedy])[], bound: number): void {
  let [compared, all] = [0, 0]
  for (const [got, want] of pairs) {
    compared += comparedOf(got, want, bound)
    all += want.ids.length
  }
  expect(compared, `tokens before a near tie, of ${all}`).toBeGreaterThan(all / 2)
}

/** Compares up to the first near tie; returns the number of tokens before it. */
function comparedOf(got: Given, want: Greedy, bound: number): number {
  expect(got.ids).toHaveLength(want.ids.length)
  for (const [at, { id, logprob, topLogprobs = [] }] of want.tokens.entries()) {
    expect(topLogprobs.length, 'the two best tokens were asked for').toBeGreaterThanOrEqual(2)
    const found = got.ids[at]!
    if (found !== id) {
      const chosen = topLogprobs.find((one) => one.id === found)
      const behind = chosen ? logprob - chosen.logprob : Number.POSITIVE_INFINITY
      const where = `token ${at} is ${found}, not ${id} as in [${want.ids}]; it is ${behind} less likely`
      expect(behind, where).toBeLessThanOrEqual(2 * bound)
      return at
    }
    const other = got.tokens?.[at]?.logprob ?? logprob
    expect(Math.abs(other - logprob), `log-probability of token ${at}`).toBeLessThanOrEqual(2 * bound)
  }
  return want.ids.length
}
