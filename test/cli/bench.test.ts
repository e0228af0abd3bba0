/** `foretoken bench` as a process. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCli } from '../helpers/run-cli.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

let folder: string
let model: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'foretoken-bench-'))
  model = join(folder, 'tiny.gguf')
  await writeFile(model, tinyGguf())
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const foretoken = (args: readonly string[]) => runCli(folder, args)

describe('foretoken bench', () => {
  test('prepack prints its rows, and a chart', async () => {
    const plot = join(folder, 'prepack.svg')
    const args = [
      '--dataset',
      'lognormal-20-0.5',
      '--batch',
      '2,4',
      '--runs',
      '1',
      '--draws',
      '1',
      '--most-prompt',
      '60',
    ]
    const { code, out } = await foretoken(['bench', 'prepack', '-m', model, '--json', '--plot', plot, ...args])
    expect(code).toBe(0)
    const { results, kv } = JSON.parse(out)
    expect(kv).toBe('int8')
    expect(results.map(({ batch }: { batch: number }) => batch)).toEqual([2, 4])
    expect(await readFile(plot, 'utf8')).toMatch(/^<svg [\s\S]*<\/svg>\n$/)
  })

  test('prepack of several sets draws speedup against CV', async () => {
    const plot = join(folder, 'cv.svg')
    const sets = ['uniform-8-40', 'lognormal-20-0'].flatMap((name) => ['--dataset', name])
    const args = [...sets, '--batch', '4', '--runs', '1', '--draws', '1', '--plot', plot]
    const { code, out } = await foretoken(['bench', 'prepack', '-m', model, '--json', ...args])
    expect(code).toBe(0)
    const { results } = JSON.parse(out)
    expect(results.map(({ dataset }: { dataset: string }) => dataset)).toEqual(['uniform-8-40', 'lognormal-20-0'])
    expect(results[1]).toMatchObject({ cv: 0, predicted_speedup: 1 })
    expect(await readFile(plot, 'utf8')).toContain('(CV)')
  })

  test("prepack of a user's file leaves out prompts that are too long", async () => {
    const set = join(folder, 'set.jsonl')
    const texts = ['short one', 'another one', 'and a third', 'far too long '.repeat(100)]
    await writeFile(set, texts.map((prompt) => JSON.stringify({ prompt })).join('\n'))
    const args = ['--dataset', set, '--batch', '3,4', '--runs', '1', '--draws', '1', '--json']
    const { code, out } = await foretoken(['bench', 'prepack', '-m', model, ...args])
    expect(code).toBe(0)
    expect(JSON.parse(out).results).toMatchObject([{ batch: 3, pool: 3 }])
  })

  test('replay serves a trace twice, and reports prefix hits', async () => {
    const trace = join(folder, 'trace.jsonl')
    const row = (timestamp: number, hash_ids: number[]) =>
      JSON.stringify({ timestamp, input_length: 1500, output_length: 60, hash_ids })
    await writeFile(trace, [row(0, [1, 2, 3]), row(3000, [1, 2, 4]), row(6000, [1, 2, 3])].join('\n'))
    const plot = join(folder, 'replay.svg')
    const args = ['--scale', '0.0625', '--rate', '20', '--json', '--plot', plot]
    const { code, out } = await foretoken(['bench', 'replay', trace, '-m', model, '--threads', '1', ...args])
    expect(code).toBe(0)
    const { results, ideal } = JSON.parse(out)
    expect(Object.keys(results)).toHaveLength(2)
    expect(ideal.unlimited).toBe(64 + 80)
    for (const result of Object.values<{ requests: number }>(results))
      expect(result).toMatchObject({ requests: 3, failed: 0 })
    expect(await readFile(plot, 'utf8')).toContain('Time to first token')
  })

  test('an unknown kind is refused with the known ones', async () => {
    for (const args of [['bench'], ['bench', 'replay'], ['bench', 'prefill', 'x'], ['bench', 'speed']]) {
      const { code, err } = await foretoken([...args, '-m', model])
      expect({ code, err }).toEqual({ code: 2, err: expect.stringMatching(/prepack/) })
    }
    const missing = await foretoken(['bench', 'prepack', '--dataset', 'mt-bench', '-m', model])
    expect(missing.err).toContain('FORETOKEN_DATA')
  })
})
