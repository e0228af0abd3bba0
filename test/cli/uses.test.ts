/** A command refuses a model that cannot do its work, and names the command that can. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runCli } from '../helpers/run-cli.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

const vectors = fileURLToPath(new URL('../vectors/', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'foretoken-uses-'))
const [answers, embedder, ranks, odd, lines] = [
  ...['answers.gguf', 'embedder.gguf', 'ranks.gguf', 'odd.gguf', 'in.jsonl'],
].map((name) => join(folder, name)) as [string, string, string, string, string]
const bothWays = join(vectors, 'tiny-gemma-embedding/gguf/tiny-gemma-embedding-f16.gguf')
const encoder = join(vectors, 'tiny-bert-onnx')
beforeAll(() => {
  writeFileSync(answers, tinyGguf())
  writeFileSync(embedder, tinyGguf({ metadata: { 'llama.pooling_type': { u32: 3 } } }))
  writeFileSync(ranks, tinyGguf({ metadata: { 'llama.pooling_type': { u32: 4 } } }))
  writeFileSync(odd, tinyGguf({ metadata: { 'llama.new_thing': { u32: 3 }, 'llama.rope.freq_base': { f32: 5e4 } } }))
  writeFileSync(lines, '{"id":"a","prompt":"b"}\n')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const out = join(folder, 'out')
type Case = [name: string, args: (model: string) => string[], input?: string]
const answering: Case[] = [
  ['run', (model) => ['run', '-m', model, 'hi']],
  ['run --raw', (model) => ['run', '-m', model, '--raw', 'hi']],
  ['chat', (model) => ['chat', '-m', model], 'hi\n'],
  ['batch', (model) => ['batch', '-m', model, lines, out]],
]
const scoring: Case[] = [
  ['prefix save', (model) => ['prefix', 'save', out, '-m', model, '--system', 'x']],
  ['companion', (model) => ['companion', '-m', model, '--listen', '127.0.0.1:0']],
  ['bench decode', (model) => ['bench', 'decode', '-m', model]],
  ['bench ttft', (model) => ['bench', 'ttft', '-m', model, '--lengths', '8', '--runs', '1']],
  ['fit', (model) => ['fit', '--base', model, '--data', lines, '--out', out]],
]

describe('a model of embeddings', () => {
  test.each([...answering, ...scoring])('whose tokens see both ways is refused by %s', async (_, args, input) => {
    const { code, err } = await runCli(folder, args(bothWays), input)
    expect(err).toContain(`makes embeddings and no answers: foretoken embed -m ${bothWays} "some text" (unsupported)`)
    expect({ code, raw: /--raw|loading/.test(err) }).toEqual({ code: 1, raw: false })
  })

  test.each(answering)('that could give scores is refused by %s', async (_, args, input) => {
    const { code, err } = await runCli(folder, args(embedder), input)
    expect({ code, err }).toMatchObject({ code: 1, err: expect.stringContaining(`foretoken embed -m ${embedder}`) })
  })

  test.each(answering.filter(([name]) => name !== 'batch'))('in ONNX is refused by %s', async (_, args, input) => {
    const { code, err } = await runCli(folder, args(encoder), input)
    expect({ code, err }).toMatchObject({ code: 1, err: expect.stringContaining(`foretoken embed -m ${encoder}`) })
  })

  test.each([bothWays, embedder, encoder])('%s is run by embed', async (model) => {
    const { code, out, err } = await runCli(folder, ['embed', '-m', model, 'hi'])
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(JSON.parse(out).embedding.length).toBeGreaterThan(8)
  })
})

describe('a reranker', () => {
  test.each(answering)('is refused by %s', async (_, args, input) => {
    const { code, err } = await runCli(folder, args(ranks), input)
    expect({ code, err }).toMatchObject({ code: 1, err: expect.stringContaining('POST /v1/rerank') })
  })

  test('is refused by embed', async () => {
    const { code, err } = await runCli(folder, ['embed', '-m', ranks, 'hi'])
    expect({ code, err }).toMatchObject({ code: 1, err: expect.stringContaining('POST /v1/rerank') })
  })
})

test('a model for answers is refused by embed before its weights are read, unless a pooling is named', async () => {
  const { code, err } = await runCli(folder, ['embed', '-m', answers, 'hi'])
  expect({ code, err }).toMatchObject({
    code: 1,
    err: expect.stringMatching(/not an embedding model.*choose a pooling/),
  })
  expect((await runCli(folder, ['embed', '-m', answers, '--pooling', 'mean', 'hi'])).code).toBe(0)
})

describe('--ignore-config', () => {
  const commands: Case[] = [
    ['run', (model) => ['run', '-m', model, '-n', '1', 'hi']],
    ['inspect', (model) => ['inspect', model]],
    ['tokenize', (model) => ['tokenize', '-m', model, 'hi']],
    ['deploy-prep', (model) => ['deploy-prep', '-m', model, '--out', join(folder, 'worker')]],
  ]
  test.each(commands)('of %s takes the short name of a key, and refuses one that is not needed', async (_, args) => {
    const good = await runCli(folder, [...args(odd), '--ignore-config', 'new_thing'])
    expect({ code: good.code, err: good.err }).toMatchObject({ code: 0, err: expect.stringContaining('ignored, as') })
    for (const name of ['rope.freq_base', 'new_thin']) {
      const ignored = ['--ignore-config', 'llama.new_thing', '--ignore-config', name]
      const { code, err } = await runCli(folder, [...args(odd), ...ignored])
      expect(err).toContain(`--ignore-config ${name}: `)
      expect(err).toMatch(/no key of this name that is refused \(those that are: llama\.new_thing\); leave it out/)
      expect(code).toBe(1)
    }
    const { err } = await runCli(folder, [...args(answers), '--ignore-config', 'new_thing'])
    expect(err).toMatch(/it has none that is\); leave it out \(bad_argument\)/)
  })
})

test('ls refuses a name, and says what shows one model', async () => {
  const { code, err } = await runCli(folder, ['ls', 'qwen'])
  expect({ code, err }).toMatchObject({ code: 2, err: expect.stringContaining('foretoken inspect qwen') })
})
