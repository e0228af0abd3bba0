/**
 * The inputs of benchmarks: lengths, prompts, traces, and what a prefix cache could find in them.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { drawnLengths, textsOf } from '../../bench/datasets.ts'
import { idealHits } from '../../bench/ideal-hits.ts'
import { lognormalLengths, moments, shuffled } from '../../bench/lengths.ts'
import { quantile } from '../../bench/stats.ts'
import { atRate, promptsOf, readTrace, scaleTrace } from '../../bench/traces.ts'
import fc from '../helpers/properties.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'foretoken-bench-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const file = async (name: string, data: string | Uint8Array) => {
  const path = join(folder, name)
  await writeFile(path, data)
  return path
}

describe('lengths', () => {
  test.each([
    [256, 0],
    [256, 0.5],
    [256, 1],
  ])('lognormal with mean %d and CV %d', (mean, cv) => {
    const found = moments(lognormalLengths(100_000, mean, cv, 7))
    // Standard errors at 100,000 draws: 0.3 % of the mean, about 2 % of a CV of 1 (heavy tails).
    expect(Math.abs(found.mean / mean - 1)).toBeLessThan(0.015)
    expect(Math.abs(found.cv - cv)).toBeLessThan(0.05 * cv + 1e-9)
  })

  test('stay within bounds, and follow the seed', () => {
    const lengths = lognormalLengths(1000, 64, 1, 3, { min: 8, max: 100 })
    expect([Math.min(...lengths), Math.max(...lengths)]).toEqual([8, 100])
    expect(lognormalLengths(1000, 64, 1, 3, { min: 8, max: 100 })).toEqual(lengths)
    expect(lognormalLengths(1000, 64, 1, 4, { min: 8, max: 100 })).not.toEqual(lengths)
  })

  test('are drawn by name', () => {
    const options = { count: 2000, seed: 5, folder: undefined, mostTokens: 30 }
    const uniform = drawnLengths('uniform-8-40', options)!
    expect([Math.min(...uniform), Math.max(...uniform)]).toEqual([8, 30])
    expect(new Set(uniform).size).toBe(23)
    expect(drawnLengths('lognormal-20-0', options)).toEqual(new Array(2000).fill(20))
    expect(drawnLengths('mt-bench', options)).toBeUndefined()
    for (const bad of ['uniform-0-4', 'uniform-4-3', 'uniform-1.5-3'])
      expect(() => drawnLengths(bad, options)).toThrow('whole lengths')
  })

  test('a shuffle keeps all elements', () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), fc.nat(), (items, seed) => {
        expect(shuffled(items, seed).sort()).toEqual([...items].sort())
      }),
    )
    expect(shuffled([1, 2, 3, 4, 5, 6, 7, 8], 1)).not.toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  })

  test('quantiles are observed values', () => {
    expect([0, 0.5, 0.95, 1].map((q) => quantile([5, 1, 4, 2, 3], q))).toEqual([1, 3, 5, 5])
    expect(quantile([7], 0.5)).toBe(7)
  })
})

describe('texts', () => {
  test('of every format that the sets have', async () => {
    const rows = [
      { prompt: 'a prompt' },
      { turns: ['first turn', 'second turn'] },
      { turns: [{ content: 'turn as object' }] },
      { instruction: 'do this', instances: [{ input: 'with that' }] },
      { instruction: 'do this', input: '' },
      {
        messages: [
          { role: 'system', content: 'be brief' },
          { role: 'user', content: 'what is it?' },
        ],
      },
      { question: 'one\u2028line' },
      { prompt: 'word' },
    ]
    const path = await file('set.jsonl.gz', gzipSync(rows.map((row) => JSON.stringify(row)).join('\n')))
    expect(await textsOf(path)).toEqual([
      'a prompt',
      'first turn',
      'turn as object',
      'do this\n\nwith that',
      'do this',
      'what is it?',
      'one\u2028line',
    ])
    expect(await textsOf(await file('set.txt', ' = Heading = \n\nOne line.\r\nword\n'))).toEqual([
      '= Heading =',
      'One line.',
    ])
  })

  test.each([
    ['garbage', '{"prompt":"a b"}\n{', /line 2/],
    ['no text', '{"x":1}', /line 1: none of the fields/],
    ['no object', '[1]', /line 1: not a JSON object/],
  ])('with %s are refused with the line', async (_, text, message) => {
    await expect(textsOf(await file('bad.jsonl', text))).rejects.toMatchObject({
      code: 'bad_argument',
      message: expect.stringMatching(message),
    })
  })

  test('that are missing, not gzip, or not UTF-8', async () => {
    await expect(textsOf(join(folder, 'none.txt'))).rejects.toMatchObject({ code: 'not_found' })
    await expect(textsOf(await file('x.txt.gz', 'plain'))).rejects.toMatchObject({ code: 'io' })
    await expect(textsOf(await file('y.txt', Uint8Array.of(0xff, 10)))).rejects.toMatchObject({ code: 'bad_argument' })
  })
})

describe('traces', () => {
  const azure = `TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:15:48,10,1`

  test('of Azure, sorted, from 0', async () => {
    const rows = await readTrace(await file('azure.csv', azure))
    expect(rows.map(({ prompt_tokens, output_tokens }) => [prompt_tokens, output_tokens])).toEqual([
      [374, 44],
      [10, 1],
      [396, 109],
    ])
    expect(rows.map(({ at_ms }) => Math.round(at_ms * 100) / 100)).toEqual([0, 1319.41, 4314.58])
  })

  test('of Mooncake: equal blocks give equal ids, everything else differs', async () => {
    const lines = [
      { timestamp: 0, input_length: 1100, output_length: 6, hash_ids: [1, 2, 3] },
      { timestamp: 3000, input_length: 1024, output_length: 9, hash_ids: [1, 2] },
      { timestamp: 6000, input_length: 700, output_length: 9, hash_ids: [1, 9] },
      { timestamp: 6000, input_length: 700, output_length: 9, hash_ids: [] },
    ]
    const path = await file('m.jsonl', lines.map((line) => JSON.stringify(line)).join('\n'))
    const rows = scaleTrace(await readTrace(path), { scale: 1 / 32, mostPrompt: 1000, mostOutput: 4, requests: 10 })
    expect(rows.map(({ output_tokens }) => output_tokens)).toEqual([4, 4, 4, 4])
    const [a, b, c, d] = promptsOf(rows, { vocab: 1000, blockTokens: 16, seed: 1 })
    expect([a, b, c, d].map((ids) => ids!.length)).toEqual([34, 32, 22, 22])
    expect(b).toEqual(a!.slice(0, 32))
    expect(c!.slice(0, 16)).toEqual(a!.slice(0, 16))
    expect(c!.slice(16)).not.toEqual(a!.slice(16, 22))
    expect(d).not.toEqual(c)
    expect(promptsOf(rows, { vocab: 1000, blockTokens: 16, seed: 2 })[0]).not.toEqual(a)
    expect(Math.max(...a!)).toBeLessThan(1000)
  })

  test('at another rate keep their relative timing', async () => {
    const rows = atRate(await readTrace(await file('azure.csv', azure)), 4)
    expect(rows.at(-1)!.at_ms).toBeCloseTo(500)
    expect(rows[1]!.at_ms / rows[2]!.at_ms).toBeCloseTo(1319.41 / 4314.58, 4)
  })

  test.each([
    ['a torn time', 'h\n2023-11-16,1,1', 'a.csv'],
    ['a negative count', 'h\n2023-11-16 18:15:46,-1,1', 'a.csv'],
    ['a missing count', 'h\n2023-11-16 18:15:46,1', 'a.csv'],
    ['hex', 'h\n2023-11-16 18:15:46,0x10,1', 'a.csv'],
    ['a fraction', '{"timestamp":0,"input_length":1.5,"output_length":1,"hash_ids":[1]}', 'a.jsonl'],
    ['no blocks', '{"timestamp":0,"input_length":1,"output_length":1}', 'a.jsonl'],
    ['a huge hash', '{"timestamp":0,"input_length":1,"output_length":1,"hash_ids":[1e300]}', 'a.jsonl'],
    ['nothing', 'h\n\n', 'a.csv'],
  ])('with %s are refused', async (_, text, name) => {
    await expect(readTrace(await file(name, text))).rejects.toMatchObject({ code: 'bad_argument' })
  })
})

describe('ideal hits', () => {
  const page = (n: number) => [n, n]

  test('by hand: a page kept for the next use', () => {
    // Pages of 2: A B | C | A B again. The last token of a prompt is never found.
    const prompts = [
      [...page(1), ...page(2), 0],
      [...page(3), 0],
      [...page(1), ...page(2), 0],
    ]
    expect(idealHits(prompts, 2, 10)).toEqual({ tokens: 13, unlimited: 4, best: 4, lru: 4 })
    // Two pages: LRU drops B, the deepest of the older path, for C; a better policy does not keep
    // C.
    expect(idealHits(prompts, 2, 2)).toEqual({ tokens: 13, unlimited: 4, best: 4, lru: 2 })
    expect(idealHits(prompts, 2, 0)).toMatchObject({ best: 0, lru: 0 })
  })

  test('a whole prompt is found but for its last token', () => {
    expect(idealHits([page(1), page(1), [...page(1), 5]], 2, 4)).toMatchObject({ unlimited: 2 })
  })

  test('least recently used <= optimal <= unlimited, and more memory never reduces the optimum', () => {
    const ids = fc.array(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 12 })
    fc.assert(
      fc.property(fc.array(ids, { maxLength: 25 }), fc.nat(12), (prompts, pages) => {
        const { lru, best, unlimited } = idealHits(prompts, 2, pages)
        expect(lru).toBeLessThanOrEqual(best)
        expect(best).toBeLessThanOrEqual(unlimited)
        expect(idealHits(prompts, 2, 1000).lru).toBe(unlimited)
      }),
    )
  })
})
