/** `foretoken fit` and `--prefill`, from texts to an answer. */
import { spawnSync } from 'node:child_process'
import { access, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { documentIds, readDocuments } from '../../cli/fit/documents.ts'
import type { Search } from '../../cli/fit/search.ts'
import { memorySource } from '../../src/model/source.ts'
import { readPredictor, writePredictor } from '../../src/predict/file.ts'
import type { SharedPlan } from '../../src/predict/plan.ts'
import { builtCommand } from '../helpers/built-command.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

let folder: string
let model: string
let data: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'foretoken-fit-'))
  model = join(folder, 'tiny.gguf')
  await writeFile(model, tinyGguf({ layers: 7, context: 512 }))
  data = join(folder, 'texts.jsonl.gz')
  const rows = Array.from({ length: 60 }, (_, i) => ({ text: `Row ${i} of ${i * 7919}. `.repeat(6) }))
  await writeFile(data, gzipSync(rows.map((row) => JSON.stringify(row)).join('\n')))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

function foretoken(...args: string[]) {
  const env = { ...process.env, FORETOKEN_HOME: join(folder, 'home') }
  const { status, stdout, stderr } = spawnSync(process.execPath, [builtCommand, ...args], { env, encoding: 'utf8' })
  return { code: status, out: stdout, err: stderr }
}

const plan = ['--m', '2', '--run', '4', '--taps', '1', '--w', '8']
const fitting = (out: string) => [
  'fit',
  '--base',
  model,
  ...plan,
  ...['--data', data, '--out', out, '--tokens', '1500', '--most-prompt', '140', '--threads', '1'],
]

describe('foretoken fit', () => {
  test('writes a predictor that run uses, and reports its quality', async () => {
    const out = join(folder, 'tiny.safetensors')
    const { code, out: text, err } = foretoken(...fitting(out), '--json')
    expect({ code, err }).toEqual({ code: 0, err: '' })
    const { quality, bytes } = JSON.parse(text)
    const file = await readPredictor(memorySource(out, await readFile(out)))
    expect(file.header).toMatchObject({
      layers: 7,
      plan: { shared: 2, runs: [{ from: 4, to: 5 }], taps: [1, 1], sinks: 4, window: 8 },
      training: { data: ['texts.jsonl.gz'], seed: 1, tokens: 1500, longest: 140 },
      quality,
    })
    expect(bytes).toBe((await readFile(out)).length)
    expect(quality.kl).toBeGreaterThan(0)
    expect(quality.top1).toBeGreaterThan(0.1)
    await expect(access(`${out}.partial`)).rejects.toThrow()

    const prompt = 'What is the number of the last row, and what was said of the one before it?'
    const run = ['run', '-m', model, '--threads', '1', '--ignore-eos', '-n', '150', prompt, '--predictor', out]
    const refined = foretoken(...run, '--prefill', 'refined')
    expect(refined.err).toMatch(/first token \d+ ms, exact about \d+ ms .* refined, (exact|corrected) from token \d+/)
    const json = JSON.parse(foretoken(...run, '--prefill', 'predicted', '--json').out)
    expect(json).toMatchObject({ prefill: 'predicted' })
    expect(json.exact_from).toBeUndefined()
    expect(json.prefill_share).toBeLessThan(0.95)
    expect(JSON.parse(foretoken(...run, '--json').out)).toMatchObject({
      prefill: 'exact',
      exact_from: 0,
      prefill_share: 1,
    })

    const input = join(folder, 'in.jsonl')
    const lines = [{ prompt }, { prompt, prefill: 'exact' }].map((line) => JSON.stringify({ ...line, max_tokens: 3 }))
    await writeFile(input, lines.join('\n'))
    const answers = join(folder, 'out.jsonl')
    foretoken('batch', input, answers, '-m', model, '--predictor', out, '--prefill', 'predicted')
    const kinds = (await readFile(answers, 'utf8'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(Object.fromEntries(kinds.map(({ line, prefill }) => [line, prefill]))).toEqual({
      1: 'predicted',
      2: 'exact',
    })
  })

  test('reads texts from stdin and writes to stdout, where "-" stands for both', async () => {
    const cwd = await mkdtemp(join(folder, 'dash-'))
    const args = fitting('-').map((arg) => (arg === data ? '-' : arg))
    const env = { ...process.env, FORETOKEN_HOME: join(folder, 'home') }
    const input = gunzipSync(await readFile(data))
    const { status, stdout, stderr } = spawnSync(process.execPath, [builtCommand, ...args], { env, cwd, input })
    expect({ status, err: `${stderr}` }).toEqual({
      status: 0,
      err: expect.stringMatching(/^stdout: .*--predictor FILE\n$/),
    })
    const { header } = await readPredictor(memorySource('stdout', new Uint8Array(stdout)))
    expect(header).toMatchObject({ layers: 7, training: { data: ['-'], tokens: 1500 } })
    expect(await readdir(cwd)).toEqual([])
  })

  test('resumes where it was stopped, and refuses the state of another fit', async () => {
    const [whole, broken] = [join(folder, 'whole.safetensors'), join(folder, 'broken.safetensors')]
    foretoken(...fitting(whole))
    const file = await readPredictor(memorySource('w', await readFile(whole)))
    // The state of a run that was killed in its second stage.
    const header = { ...file.header, gate: 0, quality: {}, training: { ...file.header.training, sources_done: 1 } }
    await writeFile(`${broken}.partial`, await writePredictor({ ...file, header }))
    expect(foretoken(...fitting(broken)).code).toBe(0)
    const again = await readPredictor(memorySource('b', await readFile(broken)))
    expect(again).toEqual(file)
    await writeFile(`${broken}.partial`, await writePredictor({ ...file, header }))
    const { code, err } = foretoken(...fitting(broken), '--seed', '2')
    expect({ code, err }).toEqual({ code: 1, err: expect.stringContaining('belongs to another fit') })
  })

  test('leaves out the MLPs of layers, right after the shared ones and later', () => {
    const out = join(folder, 'attention.safetensors')
    const args = ['fit', '--base', model, '--data', data, '--tokens', '600', '--w', '8', '--most-prompt', '100']
    const { code, err } = foretoken(...args, '--m', '1', '--attention', '1', '--attention', '4-5', '--out', out)
    expect({ code, err }).toMatchObject({ code: 0 })
    const run = ['run', '-m', model, '--ignore-eos', '-n', '3', 'What is the number of the last row of all?']
    const answer = JSON.parse(foretoken(...run, '--predictor', out, '--prefill', 'predicted', '--json').out)
    expect(answer).toMatchObject({ prefill: 'predicted' })
    expect(answer.prefill_share).toBeLessThan(0.8)
  })

  test('predicts from another model, or from some layers of one', async () => {
    const out = join(folder, 'separate.safetensors')
    const args = ['fit', '--base', model, '--data', data, '--tokens', '1500', '--w', '8', '--most-prompt', '120']
    const separate = [
      ...args,
      '--aux',
      model,
      '--aux-layers',
      '0-1',
      '--aux-layers',
      '3',
      '--threads',
      '1',
      '--out',
      out,
    ]
    const { code, err } = foretoken(...separate)
    expect({ code, err }).toMatchObject({ code: 0 })
    const { header } = await readPredictor(memorySource('separate', await readFile(out)))
    expect(header.plan).toMatchObject({ kind: 'separate', window: 8 })
    expect(header.aux).toMatchObject({ name: model, layers: 3, kept: [0, 1, 3] })
    const prompt = 'What is the number of the last row, and what was said of the one before it?'
    const run = ['run', '-m', model, '--ignore-eos', '-n', '3', prompt, '--predictor', out, '--prefill', 'predicted']
    expect(JSON.parse(foretoken(...run, '--aux', model, '--json').out)).toMatchObject({ prefill: 'predicted' })
    expect(foretoken(...run).err).toContain('give that one as the auxiliary model')
    expect(foretoken(...separate, '--taps', '1').err).toContain('--taps is for predictors that share')
  })

  test('searches the layers to run under a budget, and respects it', async () => {
    const out = join(folder, 'searched.safetensors')
    const args = ['fit', '--base', model, '--data', data, '--tokens', '1500', '--w', '8', '--most-prompt', '140']
    const { code, err, out: text } = foretoken(...args, '--budget', '0.75', '--threads', '1', '--out', out, '--json')
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(JSON.parse(text).quality.documents).toBeGreaterThan(0)
    const { header } = await readPredictor(memorySource('searched', await readFile(out)))
    const { search } = header.training as { search: Search['record'] }
    expect(search.blocks.length).toBeGreaterThan(2)
    for (const { text, recall } of search.blocks) expect(Math.min(text, recall)).toBeGreaterThan(0)
    for (const { share } of search.plans) expect(share).toBeLessThanOrEqual(0.75)
    const cost = ({ text, recall }: { text: number; recall: number }) => text + recall
    const { shared, runs } = header.plan as SharedPlan
    const chosen = [[0, shared], ...runs.map(({ from, to }) => [from, to])]
      .map(([a, b]) => `${a}-${b! - 1}`)
      .join(' + ')
    const best = search.plans.reduce((a, b) => (cost(b) < cost(a) ? b : a))
    expect(chosen).toBe(best.plan)
    expect(foretoken(...args, '--budget', '0.05', '--out', `${out}2`).err).toContain('no plan fits within 0.05')
    expect(foretoken(...args, '--budget', '0.5', '--m', '2', '--out', `${out}2`).err).toContain('--budget chooses')
  })

  test('reports missing arguments', () => {
    const out = join(folder, 'no.safetensors')
    expect(foretoken('fit', '--data', data).err).toContain('--out FILE')
    expect(foretoken('fit', '--data', data, '--out', out, '--aux-layers', '0-3').err).toContain(
      '--aux-layers needs --aux',
    )
    expect(foretoken('fit', '--base', model, '--data', join(folder, 'none.txt'), '--out', out).err).toContain(
      'not_found',
    )
    expect(foretoken(...fitting(out), '--attention', '4-5').err).toContain('layer 4 is run twice')
    expect(
      foretoken(...fitting(out).filter((word) => word !== '--run' && word !== '4'), '--attention', '1').err,
    ).toContain('--attention takes layers from 2 to 6')
    expect(foretoken(...fitting(out), '--run', '6-7').err).toContain('after the 2 shared ones')
    expect(foretoken('run', '-m', model, '--prefill', 'refined', 'hi').err).toContain('includes no predictor')
    expect(foretoken('run', '-m', model, '--prefill', 'refined', '--predictor', data, 'hi').err).toContain(
      'bad_predictor',
    )
  })
})

describe('documents', () => {
  const write = async (name: string, text: string) => {
    await writeFile(join(folder, name), text)
    return join(folder, name)
  }

  test('of every format, one row in twenty held out', async () => {
    const rows = [
      { prompt: 'p', response: 'r' },
      { question: 'q', answer: 'a' },
      { instruction: 'i', input: 'x', output: 'o' },
      {
        turns: [
          ['U', 'u'],
          ['S', 's'],
        ],
      },
      { messages: [{ role: 'system', content: 'y' }] },
      { text: 't' },
      { text: ' ' },
    ]
    const { training, heldOut } = await readDocuments(
      [await write('f.jsonl', rows.map((row) => JSON.stringify(row)).join('\n'))],
      1,
    )
    const all = [...training[0]!, ...heldOut[0]!].map((row) =>
      typeof row === 'string' ? row : row.map(({ role, content }) => `${role[0]}:${content}`).join(' '),
    )
    expect(all.sort()).toEqual(['s:y', 't', 'u:i\n\nx a:o', 'u:p a:r', 'u:q a:a', 'u:u a:s'])
    expect(heldOut[0]).toHaveLength(1)
    const array = await readDocuments([await write('f.json', JSON.stringify([{ text: 'one' }]))], 1)
    expect(array.heldOut).toEqual([['one']])
    await expect(readDocuments([await write('e.txt', '\n\n')], 1)).rejects.toMatchObject({ code: 'bad_argument' })
    await expect(readDocuments([await write('x.jsonl', '{"x":1}')], 1)).rejects.toThrow('no text to fit from')
  })

  test('lengths vary, files alternate, and the seed determines the order', async () => {
    const engine = { tokenize: (text: string) => [...text].map((c) => c.charCodeAt(0)), promptIds: () => [1, 2, 3] }
    const sets = [['a'.repeat(5000)], [[{ role: 'user', content: 'b' }] as const]]
    const take = async (seed: number) => {
      const all: number[][] = []
      for await (const ids of documentIds(engine, sets, { seed, most: 200 })) if (all.push(ids) === 40) break
      return all
    }
    const some = await take(3)
    expect(some.every(({ length }) => length >= 64 && length <= 200)).toBe(true)
    expect(new Set(some.map(({ length }) => length)).size).toBeGreaterThan(20)
    expect(some.map((ids) => ids[0])).toEqual(some.map((_, i) => (i % 2 === 0 ? 97 : 1)))
    expect(await take(3)).toEqual(some)
    expect(await take(4)).not.toEqual(some)
  })
})
