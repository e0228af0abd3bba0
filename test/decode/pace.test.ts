/** How many rows of predicted caches passes make exact, counted by rows and not by time. */
import { describe, expect, test } from 'vitest'
import type { Scores } from '../../src/backend/backend.ts'
import type { Scheduler } from '../../src/decode/scheduler.ts'
import type { Cut, Job } from '../../src/decode/task.ts'
import { Prediction } from '../../src/predict/choice.ts'
import type { PredictorHeader } from '../../src/predict/header.ts'
import { type FakeModel, fakeConfig, fakeHidden, nextToken } from '../helpers/fake-model.ts'
import { prompt, setup } from '../helpers/scheduled.ts'

/** The plan of the default model's predictor. */
const plan = { kind: 'shared' as const, shared: 5, runs: [{ from: 15, to: 19 }], taps: [0, 0], sinks: 4, window: 48 }
const header = { layers: 30, hidden: fakeHidden, plan, gate: 0 } as unknown as PredictorHeader
const predicting = () => new Prediction(header, fakeConfig)

/** A greedy request that ends after `most` tokens only, and corrects its answer. */
class Answer implements Job {
  readonly tenant = ''
  readonly ids: readonly number[]
  readonly mode: 'exact' | 'refined'
  readonly best = 1
  readonly #most: number
  readonly answer: number[] = []
  /** Number of its tokens when the cache was exact. */
  exactAt: number | undefined
  checked = 0
  ended = false

  constructor(ids: readonly number[], most: number, mode: 'exact' | 'refined' = 'refined') {
    this.ids = ids
    this.#most = most
    this.mode = mode
  }

  get checking(): boolean {
    return this.mode === 'refined'
  }

  onCache(kind: 'predicted' | 'exact'): void {
    if (kind === 'exact') this.exactAt ??= this.answer.length
  }

  chooseTokens(scores: Scores): readonly number[] | undefined {
    return this.#show(idOf(scores))
  }

  /** Takes what it shows for right, so that the whole of its cache is refined. */
  checkToken(scores: Scores): Cut | undefined {
    expect(idOf(scores)).toBe(nextToken([...this.ids, ...this.answer.slice(0, this.checked)]))
    this.checked++
    return undefined
  }

  end(error?: Error): void {
    if (error) throw error
    this.ended = true
  }

  #show(id: number): readonly number[] | undefined {
    this.answer.push(id)
    return this.answer.length === this.#most ? undefined : [id]
  }
}

function idOf(scores: Scores): number {
  return 'ids' in scores ? scores.ids[0]! : scores.indexOf(1)
}

/** Runs all answers. Returns the refined and other rows of each pass. */
async function passesOf(model: FakeModel, scheduler: Scheduler, answers: readonly Answer[]) {
  const passes: { refined: number; others: number; scored: number }[] = []
  model.onPass = ({ ids, segments, outputs, refined = 0 }) => {
    const rows = refined === 0 ? 0 : segments.slice(-refined).reduce((sum, { length }) => sum + length, 0)
    passes.push({ refined: rows, others: ids.length - rows, scored: outputs.length })
  }
  for (const answer of answers) scheduler.add(answer)
  await scheduler.drive(() => answers.every(({ ended }) => ended))
  return passes
}

function world(options: { passTokens?: number; fullRows?: number } = {}) {
  const { passTokens = 256, fullRows = 32 } = options
  return setup({
    pages: 700,
    context: 4096,
    passTokens,
    prefixPages: 0,
    predicting: predicting(),
    options: { refineMs: 0, fullRows },
  })
}

describe('a stream', () => {
  test.each([
    [128, 12],
    [256, 24],
    [512, 48],
    [777, 72],
    [1024, 96],
    [2048, 192],
  ])('after a prompt of %i tokens is exact within %i tokens of its answer', async (length, most) => {
    const { model, scheduler } = world()
    const answer = new Answer(prompt(length), most + 20)
    const passes = await passesOf(model, scheduler, [answer])
    expect(answer.exactAt).toBeLessThanOrEqual(most)
    // It takes no more rows than that needs: most passes are of three tiles.
    const refining = passes.filter(({ refined }) => refined > 0)
    expect(Math.max(...refining.map(({ refined, others }) => refined + others))).toBeLessThanOrEqual(16)
    const rows = refining.reduce((sum, { refined }) => sum + refined, 0)
    expect(refining.length).toBeGreaterThan(0.6 * most)
    // Each token of the prompt and each that was shown meanwhile is run once more, and no other.
    expect(rows).toBeLessThanOrEqual(length + most)
    expect(rows).toBeGreaterThanOrEqual(length)
  })

  test('is checked by one row for each token from predicted K and V, those of refining', async () => {
    const { model, scheduler } = world()
    const answer = new Answer(prompt(512), 80)
    const passes = await passesOf(model, scheduler, [answer])
    expect(answer.checked).toBe(answer.exactAt)
    const scored = passes.reduce((sum, { scored }) => sum + scored, 0)
    expect(scored).toBe(answer.answer.length + answer.checked)
  })
})

test('an answer that ends early goes on in whole passes, and its end comes after them', async () => {
  for (const most of [1, 3]) {
    const { model, scheduler } = world()
    const answer = new Answer(prompt(512), most)
    const passes = await passesOf(model, scheduler, [answer])
    expect(answer.answer).toHaveLength(most)
    expect(answer.checked).toBe(most)
    const after = passes.filter(({ refined, others }) => refined > 0 && others === 0)
    expect(after.map(({ refined }) => refined).every((rows) => rows <= 256)).toBe(true)
    expect(after.length).toBeLessThanOrEqual(2)
  }
})

test('several streams share the rows that fill the core, and each becomes exact', async () => {
  const { model, scheduler } = world()
  const answers = Array.from({ length: 4 }, (_, seed) => new Answer(prompt(256, seed + 1), 150))
  const passes = await passesOf(model, scheduler, answers)
  for (const { refined, others } of passes)
    if (refined > 0 && others <= 4) expect(refined + others).toBeLessThanOrEqual(32)
  for (const { exactAt, checked } of answers) {
    expect(exactAt).toBeLessThan(100)
    expect(checked).toBe(exactAt)
  }
})

test('prompts that keep arriving do not starve it: it always gains on its own answer', async () => {
  const { model, scheduler } = world({ passTokens: 64 })
  const answer = new Answer(prompt(256), 400)
  const others: Answer[] = []
  let before = Number.POSITIVE_INFINITY
  model.onPass = () => {
    if (answer.answer.length === 0 || answer.exactAt !== undefined || others.length > 300) return
    const other = new Answer(prompt(90, others.length), 1, 'exact')
    others.push(other)
    scheduler.add(other)
    before = Math.min(before, answer.answer.length)
  }
  scheduler.add(answer)
  await scheduler.drive(() => answer.ended)
  expect(others.length).toBeGreaterThan(20)
  expect(answer.exactAt).toBeLessThan(260)
  await scheduler.drive(() => others.every(({ ended }) => ended))
})

test('the smallest passes finish too', async () => {
  for (const passTokens of [1, 2, 3, 5]) {
    const { model, scheduler } = world({ passTokens })
    const answer = new Answer(prompt(90), 12)
    await passesOf(model, scheduler, [answer])
    expect(answer.checked).toBeGreaterThan(0)
    expect(answer.ended).toBe(true)
  }
})
