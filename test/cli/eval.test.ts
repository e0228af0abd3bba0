/** `foretoken eval`, from sets of texts to a table. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { QualityRow } from '../../bench/quality/judge.ts'
import { parse } from '../../cli/parse.ts'
import { writeSets } from '../helpers/judged-sets.ts'
import { runCli } from '../helpers/run-cli.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

let folder: string
let sets: string
let args: string[]

const foretoken = (...args: string[]) => runCli(folder, args)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'foretoken-eval-'))
  const model = join(folder, 'tiny.gguf')
  await writeFile(model, tinyGguf({ layers: 7, context: 1024 }))
  sets = join(folder, 'sets')
  await writeSets(sets)
  await mkdir(join(sets, 'train'))
  const rows = Array.from({ length: 60 }, (_, i) => JSON.stringify({ text: `Row ${i} of ${i * 7919}. `.repeat(6) }))
  const texts = join(sets, 'train', 'texts.jsonl.gz')
  await writeFile(texts, gzipSync(rows.join('\n')))
  const predictor = join(folder, 'tiny.safetensors')
  const fit = ['fit', '--base', model, '--m', '2', '--run', '4', '--w', '8', '--most-prompt', '140', '--tokens', '600']
  const { code, err } = await foretoken(...fit, '--data', texts, '--out', predictor, '--threads', '1')
  if (code !== 0) throw new Error(err)
  args = ['eval', '--base', model, '--predictor', predictor, '--threads', '1', '--tokens', '400', '--data', sets]
})
afterAll(() => rm(folder, { recursive: true, force: true }))

const suites = ['documents', 'turns', 'recall', 'questions']
const methods = ['predicted', 'refined', 'truncate', 'pop', 'swiftkv', 'attention', 'random', 'aux']

/** One token is chosen before anything is refined, and only documents are chunks. */
function methodsOf(suite: string): string[] {
  if (suite === 'documents') return methods.toSpliced(2, 0, 'chunks')
  return methods.filter((one) => suite !== 'questions' || one !== 'refined')
}

test('compares all methods on suites of every kind, at the predictor’s own work', async () => {
  const plot = join(folder, 'quality.svg')
  const chosen = suites.flatMap((suite) => ['--suite', suite])
  const some = ['--json', '--lengths', '480', '--cases', '2', '--plot', plot]
  const { code, out, err } = await foretoken(...args, ...chosen, ...some)
  expect({ code, err }).toEqual({ code: 0, err: '' })
  const { results, plan, swiftkv } = JSON.parse(out) as {
    results: QualityRow[]
    plan: { shared: number }
    swiftkv: object
  }
  expect(plan.shared).toBe(2)
  expect(swiftkv).toMatchObject({ tokens: 400 })
  expect(results.map(({ suite, method }) => `${suite} ${method}`)).toEqual(
    suites.flatMap((suite) => ['exact', ...methodsOf(suite)].map((method) => `${suite} ${method}`)),
  )
  const chart = await readFile(plot, 'utf8')
  for (const method of methods) expect(chart).toContain(`>${method}<`)
  const own = results.find(({ method }) => method === 'predicted')?.share ?? 0
  for (const row of results) {
    expect(row.cases).toBe(2)
    if (row.method === 'exact') expect(row).toMatchObject({ share: 1, kl: 0, kl_error: 0, top1: 1, first: 1 })
    else expect(row.kl).toBeGreaterThan(0)
    if (row.method === 'truncate' || row.method === 'random') expect(Math.abs(row.share - own)).toBeLessThan(0.005)
    expect(row.share).toBeLessThanOrEqual(row.method === 'exact' ? 1 : own)
    expect(row.right === undefined).toBe(!['recall', 'questions'].includes(row.suite))
    expect(row.chosen === undefined).toBe(row.suite !== 'questions')
    expect(row.ttft_ms).toBeGreaterThan(0)
    const groups = { documents: ['front', 'middle'], turns: ['recent', 'first'] }[row.suite]
    expect(row.groups && Object.keys(row.groups)).toEqual(groups)
  }
})

test('at several amounts of work, one that the predictor cannot do is marked', async () => {
  const few = ['--lengths', '480', '--cases', '1', '--suite', 'lm', '--methods', 'predicted', '--methods', 'truncate']
  const { out, err } = await foretoken(...args, ...few, '--work', '25,60,90')
  expect(err).toBe('')
  expect(out).toContain('lm, 480 tokens, 1 prompt: running text of wikitext-2')
  for (const work of ['0.25', '0.6', '0.9']) expect(out).toContain(`at ${work} of exact prefill’s work`)
  const shares = [...out.matchAll(/ {2}predicted +(\d\.\d\d)(.)/g)].map(([, share, mark]) => `${share}${mark}`)
  expect(shares).toHaveLength(3)
  expect(shares[0]).toMatch(/^0\.[3-9].\*$/)
  expect(shares.slice(1)).toEqual(['0.60 ', '0.90 '])
  expect(out).toContain('*: the method cannot do as little work')
  expect(out).toContain('  truncate   the first 4 and the last tokens of the prompt alone')
})

test('goes on with a file of scores, and gives what one run would have given', async () => {
  const scores = join(folder, 'scores.jsonl')
  const some = ['--json', '--lengths', '480', '--suite', 'documents', '--work', '60', '--resume', scores]
  const names = ['pop', 'swiftkv', 'truncate'].flatMap((name) => ['--methods', name])
  const whole = await foretoken(...args, ...some, ...names, '--cases', '3')
  expect({ code: whole.code, err: whole.err }).toEqual({ code: 0, err: '' })
  expect((await readdir(folder)).filter((name) => name.includes('.swiftkv-'))).toHaveLength(1)
  const lines = (await readFile(scores, 'utf8')).split('\n')
  // The first case and a half are known, and the next line was being written.
  await writeFile(scores, [...lines.slice(0, 7), lines[7]!.slice(0, 20)].join('\n'))
  const again = await foretoken(...args, ...some, ...names, '--cases', '3')
  const untimed = (out: string) => (JSON.parse(out).results as QualityRow[]).map(({ ttft_ms, ...row }) => row)
  expect(untimed(again.out)).toEqual(untimed(whole.out))
  expect((await readFile(scores, 'utf8')).trim().split('\n')).toHaveLength(1 + 3 * 4)
  const other = await foretoken(...args, ...some, ...names, '--cases', '3', '--seed', '2')
  expect(other.err).toContain('its seed is 1, not 2')
})

test('refuses what cannot be measured by name', async () => {
  for (const [flag, value, message] of [
    ['--work', '0', /--work.*1 to 100/],
    ['--work', '50,120', /--work.*1 to 100/],
    ['--work', 'half', /--work.*half/],
    ['--cases', '0', /--cases.*0/],
    ['--cases', '1.5', /--cases.*1\.5/],
    ['--lengths', '0', /--lengths.*0/],
    ['--lengths', '512,-1', /--lengths.*-1/],
  ] as const)
    expect(() => parse(['eval', flag, value])).toThrow(message)
  const fails = async (...more: string[]) => {
    const { code, err } = await foretoken(...args, '--suite', 'documents', '--methods', 'pop', ...more)
    return `${code} ${err}`
  }
  expect(await fails('--suite', 'magic')).toMatch(/^2 .*no suite magic; there are documents, code/s)
  expect(await fails('--methods', 'magic')).toMatch(/^2 .*no method magic; there are predicted, refined/s)
  expect(await fails('--lengths', '480', '--context', '500')).toMatch(/^2 .*--context is 500/s)
  expect(await fails('--lengths', '40')).toMatch(
    /prompts of 40 tokens are too short for the suite documents, which needs \d+/,
  )
  expect(await fails('--lengths', '2000')).toContain('--lengths 2000 and an answer are too long: context is 2128')
  expect(await fails('--lengths', '480', '--cases', '100')).toMatch(/has \d+ passages.* need 100: \d+ are missing/)
})

test('swiftkv needs texts to fit from', async () => {
  const bare = join(folder, 'bare')
  await writeSets(bare)
  const few = [...args.slice(0, -1), bare, '--lengths', '480', '--cases', '1', '--suite', 'lm', '--work', '60']
  const asked = await foretoken(...few, '--methods', 'swiftkv')
  expect(asked.err).toContain('swiftkv is fitted from texts, and there are none in')
  const { code, out, err } = await foretoken(...few)
  expect(code).toBe(0)
  expect(err).toContain('it is left out')
  expect(err).toContain('what was trained on may be judged on, too')
  expect(out).not.toContain('swiftkv')
})
