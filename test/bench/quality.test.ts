/** The suites that `eval` judges on, the work of its methods, and what it keeps of scores. */
import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { overlapWith, runsOf, runWords } from '../../bench/quality/overlap.ts'
import { meanAndError, meanOf, type Score } from '../../bench/quality/score.ts'
import { ScoreLog, type ScorePlace } from '../../bench/quality/score-log.ts'
import { suites } from '../../bench/quality/suites.ts'
import {
  firstLayersShare,
  keptShare,
  largest,
  prunedShare,
  skippedFor,
  skippedShare,
} from '../../bench/quality/work.ts'
import { loadWasm } from '../../node/wasm.ts'
import type { ModelConfig } from '../../src/base/model.ts'
import { Engine } from '../../src/index.ts'
import { placedShare } from '../../src/predict/cost.ts'
import { judgedRows, judgedSets, writeSets } from '../helpers/judged-sets.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import vectors from '../vectors/overlap.json' with { type: 'json' }

const engine = await Engine.load(tinyFiles({ layers: 2, context: 1024 }), {
  wasm: await loadWasm('auto', 1),
  prefixBytes: 0,
})
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'foretoken-quality-'))
  await writeSets(folder)
})
afterAll(async () => {
  await engine.close()
  await rm(folder, { recursive: true, force: true })
})

const draftsOf = (suite: string, more: object = {}) =>
  suites[suite]!.drafts(engine, { length: 480, cases: 4, seed: 1, folder, ...more })
const casesOf = async (suite: string, more: object = {}) =>
  Promise.all((await draftsOf(suite, more)).map((draft) => draft.make()))
const textOf = (ids: readonly number[]) => engine.tokenizer.decode(ids)

describe('suites', () => {
  test.each(Object.keys(suites))(
    '%s: prompts have exactly the wanted length, and a seed makes the same ones',
    async (suite) => {
      for (const length of [480, 613]) {
        const cases = await casesOf(suite, { length })
        expect(cases.map(({ prompt }) => prompt.length)).toEqual([length, length, length, length])
        for (const { continuations } of cases) for (const one of continuations) expect(one.length).toBeGreaterThan(0)
        expect(await casesOf(suite, { length })).toEqual(cases)
        const keys = (await draftsOf(suite, { length })).map(({ key }) => key)
        expect(keys).toEqual((await draftsOf(suite, { length })).map(({ key }) => key))
        expect(new Set(keys).size).toBe(4)
      }
      // Windows of running text are at even distances, whatever the seed.
      const again = await casesOf(suite, { seed: 2 })
      if (suite === 'lm') expect(again).toEqual(await casesOf(suite))
      else expect(again).not.toEqual(await casesOf(suite))
    },
  )

  test('documents: the passage that is asked about stands in front, in the middle or at the end', async () => {
    const drafts = await draftsOf('documents', { cases: 6 })
    expect(drafts.map(({ group }) => group)).toEqual(['front', 'middle', 'end', 'front', 'middle', 'end'])
    for (const draft of drafts) {
      const text = textOf((await draft.make()).prompt)
      const [, mill] = /Question: is mill (\d+) large\?/.exec(text)!
      const passage = `Document: The mill by the river ${mill} has ${Number(mill) * 31} stones.`
      expect(text.split(passage)).toHaveLength(2)
      const [before, after] = text.split(passage).map((part) => part.split('Document:').length - 1) as [number, number]
      if (draft.group === 'front') expect(before).toBe(0)
      else expect(before).toBeGreaterThan(0)
      if (draft.group === 'end') expect(after).toBe(0)
      else expect(after).toBeGreaterThan(0)
    }
  })

  test('documents: the chunks are the documents, end to end, and nothing else', async () => {
    for (const { prompt, chunks = [] } of await casesOf('documents', { cases: 6 })) {
      const text = textOf(prompt)
      const parts = chunks.map(({ from, to }) => textOf(prompt.slice(from, to)))
      const end = text.indexOf('\n\nQuestion:')
      expect(parts.join('')).toBe(text.slice(text.indexOf('\n\nDocument:'), end))
      // The one that is asked about may cut another one in two.
      const whole = parts.filter((part) => part.startsWith('\n\nDocument:'))
      expect(parts.length - whole.length).toBeLessThanOrEqual(1)
      expect(whole.length).toBe(text.split('\n\nDocument:').length - 1)
      for (const [index, { from }] of chunks.slice(1).entries()) expect(from).toBe(chunks[index]!.to)
    }
  })

  test('documents: more cases begin with the same ones', async () => {
    const [few, many] = [await draftsOf('documents', { cases: 4 }), await draftsOf('documents', { cases: 8 })]
    expect(many.slice(0, 4).map(({ key }) => key)).toEqual(few.map(({ key }) => key))
  })

  test('code: ends with a function to complete, and its solution stands nowhere', async () => {
    for (const { prompt } of await casesOf('code')) {
      const text = textOf(prompt)
      const [, number] = /# add(\d+)_\1\.py\ndef add\1\(a\):\n {4}""" Add \1\. """\n$/.exec(text)!
      expect(text).not.toContain(`return a + ${number}\n`)
      expect(text).toMatch(/return a \+ \d+\n/)
    }
  })

  test('turns: the last turn follows the one before it, or comes back to the first', async () => {
    const drafts = await draftsOf('turns')
    expect(drafts.map(({ group }) => group)).toEqual(['recent', 'first', 'recent', 'first'])
    for (const draft of drafts) {
      const text = textOf((await draft.make()).prompt)
      const first = text.search(/Name \d+ mill\./)
      const other = text.search(/Count \d+\./)
      expect(Math.min(first, other)).toBeGreaterThan(-1)
      expect(first < other).toBe(draft.group === 'first')
      expect(text.includes('Back to what I asked first. And more?')).toBe(draft.group === 'first')
      expect(text).toContain('And more?')
    }
  })

  test('a text that was trained on is in no case', async () => {
    const forbidden = new Set<string>()
    const trainedOn = (text: string) => {
      if (!/\b(?:1?[02468]|Add 3)\b/.test(text)) return false
      forbidden.add(text)
      return true
    }
    for (const suite of ['documents', 'code', 'turns', 'lambada', 'questions']) {
      const before = forbidden.size
      const cases = await casesOf(suite, { trainedOn, cases: 2, length: 300 }).catch((error) => {
        // Too little may be left, which is said; nothing that was trained on fills the gap.
        expect(error.message).toMatch(/are missing/)
        return []
      })
      expect(forbidden.size).toBeGreaterThan(before)
      for (const { prompt } of cases) for (const text of forbidden) expect(textOf(prompt)).not.toContain(text)
    }
  })

  test.each([
    ['documents', /the suite documents has 40 passages, and 41 cases need 41: 1 are missing/],
    ['code', /the suite code has 40 functions, and 41 cases need 41: 1 are missing/],
    ['turns', /the suite turns has 40 questions with two turns, and 41 cases need 41: 1 are missing/],
    ['lm', /the suite lm has [\d,]+ tokens, and 41 cases of 480 need 22,304: [\d,]+ are missing/],
    ['recall', /the suite recall has [\d,]+ tokens, and 41 cases of 480 need 19,680: [\d,]+ are missing/],
    ['chat', /the suite chat has [\d,]+ tokens, and 41 cases of 480 need 19,680: [\d,]+ are missing/],
  ])('%s: too little data says how much is missing', async (suite, message) => {
    expect(judgedRows).toBe(40)
    await expect(draftsOf(suite, { cases: 41 })).rejects.toMatchObject({ code: 'bad_argument' })
    await expect(draftsOf(suite, { cases: 41 })).rejects.toThrow(message)
  })

  test.each(['documents', 'code', 'turns', 'recall'])(
    '%s: the shortest possible length is accepted, and named for a shorter one',
    async (suite) => {
      const refusal = await draftsOf(suite, { length: 20, cases: 1 }).catch((error) => error)
      expect(refusal).toMatchObject({ code: 'bad_argument' })
      const [, needs] = /prompts of 20 tokens are too short for the suite \w+, which needs (\d+) with this model/.exec(
        refusal.message,
      )!
      const least = Number(needs)
      const [one] = await casesOf(suite, { length: least, cases: 1 })
      expect(one!.prompt).toHaveLength(least)
      await expect(draftsOf(suite, { length: least - 1, cases: 1 })).rejects.toThrow(`needs ${least} with`)
    },
  )

  test('a row of another form is refused with its place', async () => {
    const other = await mkdtemp(join(tmpdir(), 'foretoken-quality-'))
    await writeSets(other)
    const broken: [string, string, string][] = [
      ['documents', 'eval/boolq.jsonl.gz', '{"query":"no passage"}'],
      ['code', 'eval/HumanEval.jsonl.gz', '{"prompt":"def"}'],
      ['turns', 'prompts/mt_bench_question.jsonl', '{"turns":["one"]}'],
      ['turns', 'prompts/user_oriented_instructions.jsonl', '{"instruction":"x","instances":[{}]}'],
      ['questions', 'eval/piqa.jsonl.gz', '{"query":"q"}'],
    ]
    for (const [suite, name, line] of broken) {
      const rows = judgedSets()
        .get(name)!
        .map((row) => JSON.stringify(row))
      const text = [...rows.slice(0, 2), line, ...rows.slice(3)].join('\n')
      await writeFile(join(other, name), name.endsWith('.gz') ? gzipSync(text) : text)
      await expect(draftsOf(suite, { folder: other })).rejects.toThrow(`${name}, line 3`)
      await writeSets(other)
    }
    await rm(join(other, 'eval/boolq.jsonl.gz'))
    await expect(draftsOf('documents', { folder: other })).rejects.toMatchObject({ code: 'not_found' })
    await rm(other, { recursive: true })
  })
})

describe('texts that were trained on', () => {
  test('share a run of words by the rule of train/', () => {
    expect(runWords).toBe(vectors.words)
    for (const { a, b, shared, runs } of vectors.pairs) {
      const [first, second] = [[...runsOf(a)], [...runsOf(b)]]
      expect([first.length, second.length], a).toEqual(runs)
      expect(
        first.some((run) => second.includes(run)),
        `${a} | ${b}`,
      ).toBe(shared)
    }
  })

  test('are found in files of every form', async () => {
    const words = (from: number) => Array.from({ length: 14 }, (_, i) => `word${from + i}`).join(' ')
    const write = async (name: string, text: string) => {
      const path = join(folder, name)
      await writeFile(path, name.endsWith('.gz') ? gzipSync(text) : text)
      return path
    }
    const judged = [0, 100, 200, 300, 400].map(words)
    const set = await write('judged.jsonl', judged.map((query) => JSON.stringify({ query, gold: 1 })).join('\n'))
    const training = [
      await write(
        'a.jsonl.gz',
        [{ text: 'other' }, { turns: [{ content: words(100) }] }].map((row) => JSON.stringify(row)).join('\n'),
      ),
      await write('b.json', JSON.stringify([{ instruction: words(200) }])),
      await write(
        'c.txt.gz',
        `one\n\n${words(300).replace('word306 ', 'word306\n')}\n\n${words(400).replace('word406 ', 'word406\n\n')}`,
      ),
    ]
    const seen: string[] = []
    const trainedOn = await overlapWith(training, [set, set], (path) => seen.push(path))
    expect(seen).toEqual(training)
    expect(judged.map(trainedOn)).toEqual([false, true, true, true, false])
    expect(trainedOn('')).toBe(false)
  })
})

describe('work', () => {
  const config = {
    ...engine.archive.config,
    layers: 30,
    hidden: 576,
    intermediate: 1536,
    heads: 9,
    kvHeads: 3,
    headDim: 64,
    vocab: 49152,
  } as ModelConfig
  /** Counts the multiply-adds of a token at `position` in one layer. */
  const layer = (position: number) => {
    const products = 576 * (9 * 64) * 2 + 576 * (3 * 64) * 2 + 3 * 576 * 1536
    // Scores and sums over all positions up to its own; by the formula, half a position fewer.
    return products + 2 * 576 * (position + 0.5)
  }
  const scores = 49152 * 576
  const sum = (from: number, to: number, of: (position: number) => number) => {
    let total = 0
    for (let position = from; position < to; position++) total += of(position)
    return total
  }
  const exact = (length: number) => 30 * sum(0, length, layer) + scores

  test.each([512, 4096])('of each method, counted token by token at %i tokens', (length) => {
    const close = (got: number, wanted: number) => expect(Math.abs(got / wanted - 1)).toBeLessThan(1e-9)
    close(keptShare(config, length, 200), exact(200) / exact(length))
    close(firstLayersShare(config, length, 11), (11 * sum(0, length, layer) + scores) / exact(length))
    const kv = 576 * 2 * 192
    const [from, window] = [13, 30]
    const skipped =
      30 * sum(0, 4, layer) +
      sum(4, length - window, (position) => from * layer(position) + (30 - from) * kv) +
      30 * sum(length - window, length, layer) +
      scores
    close(skippedShare(config, length, { from, window }), skipped / exact(length))
    const ranges = [
      { from: 30, to: 100 },
      { from: 110, to: length - 40 },
    ]
    const run = [sum(0, 30, layer), sum(100, 110, layer), sum(length - 40, length, layer)].reduce((a, b) => a + b)
    close(placedShare(config, { length, first: 0 }, ranges), (30 * run + scores) / exact(length))
    const choosing = length * 576 * 192 + 576 * 576 + length * 576
    const pruned = 9 * sum(0, length, layer) + choosing + 21 * sum(0, 150, layer) + scores
    close(prunedShare(config, length, { layer: 9, keep: 150 }), pruned / exact(length))
  })

  test('skipping nothing is all of the work, and skipping fits the wanted share closely', () => {
    expect(skippedShare(config, 1024, { from: 30, window: 1 })).toBe(1)
    expect(skippedShare(config, 1024, { from: 3, window: 1020 })).toBe(1)
    expect(skippedFor(config, 1024, 1)).toEqual({ from: 30, window: 1024 })
    for (const length of [512, 1024, 2048, 4096])
      for (const share of [0.25, 0.36, 0.5]) {
        const part = skippedFor(config, length, share)
        const got = skippedShare(config, length, part)
        expect(got).toBeLessThanOrEqual(share)
        expect(got).toBeGreaterThan(share - 0.003)
        // One more token, and one more layer with the last token alone, would be too much.
        expect(skippedShare(config, length, { ...part, window: part.window + 1 })).toBeGreaterThan(share)
        expect(skippedShare(config, length, { from: part.from + 1, window: 1 })).toBeGreaterThan(share)
      }
    expect(skippedFor(config, 512, 0.01)).toEqual({ from: 1, window: 1 })
  })

  test('the largest that fits', () => {
    expect(largest(3, 9, (value) => value <= 7)).toBe(7)
    expect(largest(3, 9, () => true)).toBe(9)
    expect(largest(3, 9, () => false)).toBe(3)
    expect(largest(5, 4, () => true)).toBe(5)
  })
})

describe('scores', () => {
  const score = (kl: number): Score => ({ share: 0.5, ttft_ms: 100 * kl, kl, kl_late: kl, top1: 1, first: 0, nll: 2 })

  test('the error of a mean is the sample’s deviation by the root of its size', () => {
    expect(meanAndError([2, 4, 4, 4, 5, 5, 7, 9]).mean).toBe(5)
    expect(meanAndError([2, 4, 4, 4, 5, 5, 7, 9]).error).toBeCloseTo(Math.sqrt(32 / 7 / 8), 12)
    expect(meanAndError([3])).toEqual({ mean: 3, error: null })
    expect(meanOf([score(1), score(2), score(6)])).toMatchObject({
      ...{ cases: 3, kl: 3, kl_error: 1.5, first: 0, first_error: 0, ttft_ms: 200 },
    })
    expect(meanOf([score(1)])).toMatchObject({ cases: 1, kl: 1, kl_error: null })
  })

  const place = (index: number, method = 'pop'): ScorePlace => {
    return { suite: 'lm', length: 512, index, key: 7 + index, method, wanted: 0.5 }
  }
  const head = { bench: 'eval', seed: 1, plan: { shared: 5 } }

  test('are found again, but for a line that was cut', async () => {
    const path = join(folder, 'scores.jsonl')
    const log = await ScoreLog.open(path, head)
    await log.add(place(0), score(1))
    await log.add({ ...place(1), wanted: null }, score(2))
    await appendFile(path, JSON.stringify({ ...place(2), score: score(3) }).slice(0, -4))
    const again = await ScoreLog.open(path, head)
    expect(again.get(place(0))).toEqual(score(1))
    expect(again.get(place(1))).toBeUndefined()
    expect(again.get({ ...place(1), wanted: null })).toEqual(score(2))
    expect(again.get(place(2))).toBeUndefined()
    await again.add(place(2), score(4))
    expect((await ScoreLog.open(path, head)).get(place(2))).toEqual(score(4))
    expect((await readFile(path, 'utf8')).split('\n')).toHaveLength(5)
  })

  test('of other data, other measurements and other files are refused', async () => {
    const path = join(folder, 'others.jsonl')
    await (await ScoreLog.open(path, head)).add(place(0), score(1))
    const log = await ScoreLog.open(path, head)
    expect(() => log.get({ ...place(0), key: 8 })).toThrow('case 0 of lm, 512 tokens, was made from other data')
    await expect(ScoreLog.open(path, { ...head, seed: 2 })).rejects.toThrow('its seed is 1, not 2')
    await expect(ScoreLog.open(path, { ...head, plan: { shared: 6 } })).rejects.toThrow('its plan is')
    await writeFile(path, 'a text\n')
    await expect(ScoreLog.open(path, head)).rejects.toMatchObject({ code: 'bad_argument' })
    await expect(ScoreLog.open(folder, head)).rejects.toMatchObject({ code: 'io' })
  })

  test('without a file are kept in memory', async () => {
    const log = await ScoreLog.open(undefined, head)
    await log.add(place(0), score(1))
    expect(log.get(place(0))).toEqual(score(1))
  })
})
