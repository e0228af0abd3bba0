/** The comparison of answers that are equal up to near ties can fail. */
import { expect, test } from 'vitest'
import { expectNearlySame, type Greedy } from '../helpers/nearly-same.ts'

/** An answer whose second best token is 100 more than its best, and less likely by `margins`. */
function answer(ids: readonly number[], margins: readonly number[]): Greedy {
  const tokens = ids.map((id, at) => ({
    type: 'token' as const,
    id,
    logprob: -1,
    text: '',
    topLogprobs: [
      { id, logprob: -1 },
      { id: id + 100, logprob: -1 - margins[at]! },
    ],
  }))
  return { ids, tokens, done: {} as Greedy['done'] }
}

const want = answer([1, 2, 3, 4], [1, 1, 0.01, 1])

test.each<[string, number[], number, boolean]>([
  ['equal answers', [1, 2, 3, 4], 0.001, true],
  ['another token at a near tie, and anything after it', [1, 2, 103, 9], 0.01, false],
  ['another token where there is none', [1, 2, 3, 104], 0.01, false],
  ['a token that was not among the best at a near tie', [1, 2, 7, 4], 0.01, false],
  ['a tie beyond the bound', [1, 2, 103, 4], 0.004, false],
])('%s', (_, ids, bound, same) => {
  const compare = () => expectNearlySame([[{ ids }, want]], bound)
  if (same) compare()
  else expect(compare).toThrow()
})

test('a near tie is no failure if most tokens come before it', () => {
  const pairs = [
    [{ ids: [1, 2, 103, 9] }, want],
    [{ ids: [1, 2, 3, 4] }, want],
  ] as const
  expectNearlySame(pairs, 0.006)
  expect(() => expectNearlySame(pairs, 0.004)).toThrow(/token 2 is 103, not 3/)
})

test('log-probabilities beyond the bound are a failure', () => {
  const got = { ...want, tokens: want.tokens.map((token) => ({ ...token, logprob: -1.1 })) }
  expectNearlySame([[got, want]], 0.06)
  expect(() => expectNearlySame([[got, want]], 0.04)).toThrow(/log-probability of token 0/)
})
