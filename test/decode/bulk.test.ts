/** Bulk work, such as embeddings, beside prompts and streams. */
import { describe, expect, test } from 'vitest'
import type { Pass } from '../../src/base/pass.ts'
import { PassCost } from '../../src/decode/pass-cost.ts'
import { type Candidate, type Policy, promptShares } from '../../src/decode/policy.ts'
import { stateOf } from '../helpers/fake-model.ts'
import { all, prompt, Request, setup } from '../helpers/scheduled.ts'

const policy: Policy = {
  budget: 256,
  chunk: 256,
  order: 'shortest',
  fullRows: 64,
  stallMs: 100,
  refineMs: 30,
  aging: 0.25,
}

function candidate(number: number, pending: number, more: Partial<Candidate> = {}): Candidate {
  const rest = { streaming: false, arrived: 0, lastPass: -1, inexact: 0, doubted: false }
  return { number, pending, expected: pending, ...rest, ...more }
}

/** A core on which a pass takes 10 ms, and 1 ms more for each row. */
function cost(): PassCost {
  const learned = new PassCost()
  for (const rows of [1, 2, 4, 8, 16, 32, 64, 128, 256]) learned.learn(rows, 10 + rows)
  return learned
}

const texts = (count: number, tokens: number) =>
  Array.from({ length: count }, (_, number) => candidate(number, tokens, { bulk: true }))

const rowsOf = (candidates: readonly Candidate[], taken: number) => {
  const shares = promptShares(candidates, taken, policy, cost(), () => true)
  const rows = (bulk: boolean) =>
    shares.filter((share) => (share.candidate.bulk ?? false) === bulk).reduce((sum, { count }) => sum + count, 0)
  return { bulk: rows(true), prompts: rows(false) }
}

describe('the rows of bulk work', () => {
  test('fill the whole pass while nothing else is there', () => {
    expect(rowsOf(texts(20, 30), 0)).toEqual({ bulk: 256, prompts: 0 })
  })

  test('at most double the time of a pass beside streams, and are never none', () => {
    // A pass of 4 steps takes 14 ms, and 28 ms are 18 rows.
    expect(rowsOf(texts(20, 30), 4)).toEqual({ bulk: 16, prompts: 0 })
    // That of 60 steps takes 70 ms, so the stall bound of 100 ms counts.
    expect(rowsOf(texts(20, 30), 60)).toEqual({ bulk: 30, prompts: 0 })
  })

  test('come after a prompt, which keeps the rows that it has without them', () => {
    const long = candidate(99, 200, { arrived: 1 })
    const alone = rowsOf([long], 4)
    expect(rowsOf([...texts(20, 30), long], 4)).toEqual({ bulk: 0, prompts: alone.prompts })
    expect(rowsOf([...texts(20, 30), candidate(99, 40)], 0)).toEqual({ bulk: 24, prompts: 40 })
  })

  test('come first once they have waited for long', () => {
    const late = candidate(99, 200, { arrived: 5000 })
    expect(rowsOf([...texts(20, 30), late], 0).bulk).toBe(64)
  })
})

test('a prompt that arrives among many texts gets its answer before they are done', async () => {
  const { scheduler, model } = setup({ passTokens: 32, pages: 200, context: 112, options: { fullRows: 16 } })
  const jobs = Array.from({ length: 60 }, (_, i) => new Request(prompt(20, i)).reading('all'))
  for (const job of jobs) scheduler.add(job)
  const passes: Pass[] = []
  const chat = new Request(prompt(40, 3), 1)
  let doneBefore = -1
  model.onPass = (pass) => {
    passes.push(pass)
    if (passes.length === 3) scheduler.add(chat)
    if (chat.ended === 0) doneBefore = jobs.filter(({ ended }) => ended > 0).length
  }
  await all(scheduler, [...jobs, chat])
  expect(doneBefore).toBeLessThan(12)
  for (const job of jobs) {
    expect(job.error).toBeUndefined()
    expect(job.read).toEqual(job.ids.map((_, position) => stateOf(job.ids.slice(0, position + 1))))
  }
})

test('a stream has a step in every pass of the texts beside it', async () => {
  const { scheduler, model } = setup({ passTokens: 128, pages: 200, context: 112 })
  const stream = new Request(prompt(4, 2), 60)
  const jobs = Array.from({ length: 12 }, (_, i) => new Request(prompt(50, i)).reading('last'))
  scheduler.add(stream)
  await scheduler.drive(() => stream.answer.length > 0)
  for (const job of jobs) scheduler.add(job)
  model.onPass = (pass) => {
    if (stream.ended === 0) expect(pass.outputs).toHaveLength(1)
  }
  await all(scheduler, [...jobs, stream])
  expect(jobs.every(({ error }) => error === undefined)).toBe(true)
})
