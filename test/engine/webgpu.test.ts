/** An engine on WebGPU, in software, says what one on the Rust core says. */
import { readFile } from 'node:fs/promises'
import { afterAll, expect, test, vi } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type GenerateRequest, type ModelFiles, memorySource } from '../../src/index.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { besideRepository } from '../golden/golden.ts'
import { randomPrompt } from '../helpers/answers.ts'
import { companionOf, going } from '../helpers/companion.ts'
import { llama2cFiles } from '../helpers/llama2c.ts'
import { expectNearlySame, type Greedy, greedyOf, logitBound } from '../helpers/nearly-same.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPredictor } from '../helpers/tiny-predictor.ts'
import { ownSoftwareBackend, softwareBackend } from '../helpers/webgpu.ts'

const wasm = await loadWasm('auto', 1)
const opened: Engine[] = []
afterAll(() => Promise.all(opened.map((engine) => engine.close())))

/** The same model on both. */
async function both(
  files: () => ModelFiles,
  options: Omit<Parameters<typeof Engine.load>[1], 'wasm'> = {},
  open = () => softwareBackend(),
) {
  const cpu = await Engine.load(files(), { ...options, wasm })
  const gpu = await Engine.load(files(), { ...options, wasm, backend: await open() })
  opened.push(cpu, gpu)
  // Two ends of a stream must agree on what model they have.
  expect(gpu.identity).toBe(cpu.identity)
  return { cpu, gpu }
}

type Both = Awaited<ReturnType<typeof both>>

/** Both engines' answers to a request. */
async function answersOf({ cpu, gpu }: Both, asked: GenerateRequest): Promise<[got: Greedy, want: Greedy]> {
  return [await greedyOf(gpu.submit(asked)), await greedyOf(cpu.submit(asked))]
}

const request = (seed: number, change: Partial<GenerateRequest> = {}): GenerateRequest => ({
  prompt: randomPrompt(20 + seed * 17, seed),
  maxTokens: 6,
  ignoreEos: true,
  topLogprobs: 2,
  ...change,
})

// f32 weights: the Rust core's activations are f32 there, too.
test('greedy ids are equal, alone and concurrently, over chunks and cached prefixes', async () => {
  const { cpu, gpu } = await both(() => tinyFiles({ context: 256 }), { passTokens: 32 })
  expect(gpu.backend.build).toMatch(/^webgpu /)
  const pairs: [Greedy, Greedy][] = []
  for (const seed of [2, 2]) pairs.push(await answersOf({ cpu, gpu }, request(seed)))
  pairs.push(...(await Promise.all([1, 3].map((seed) => answersOf({ cpu, gpu }, request(seed))))))
  expectNearlySame(pairs, logitBound(cpu.archive.config))
})

test('only the top few logits are read where that is enough; tokens and log-probabilities are the same', async () => {
  const { cpu, gpu } = await both(() => tinyFiles({ context: 128 }))
  const told = vi.spyOn(gpu.backend.shortlists!, 'of')
  const ways: Partial<GenerateRequest>[] = [
    { topLogprobs: 3 },
    { temperature: 1.5, topK: 20, topP: 0.95, seed: 5 },
    { temperature: 1.5, topP: 0.95, seed: 5 },
  ]
  const calls: number[] = []
  for (const way of ways) {
    const [got, want] = await answersOf({ cpu, gpu }, request(3, { topLogprobs: 0, ...way }))
    // Drawn numbers are the same, and none of this seed is near the edge of a token.
    if (way.temperature) expect(got.ids).toEqual(want.ids)
    else expectNearlySame([[got, want]], logitBound(cpu.archive.config))
    calls.push(told.mock.calls.length)
  }
  expect(calls[0]).toBeGreaterThanOrEqual(6)
  expect(calls[1]).toBeGreaterThanOrEqual(calls[0]! + 6)
  expect(calls[2]).toBe(calls[1])
})

test.each(['f16', 'int8'] as const)('%s pages', async (kv) => {
  // A device of its own, as a program has it.
  const open = kv === 'f16' ? ownSoftwareBackend : undefined
  const { cpu, gpu } = await both(() => tinyFiles({ context: 128 }), { kv }, open)
  expectNearlySame([await answersOf({ cpu, gpu }, request(1))], logitBound(cpu.archive.config, kv))
})

test('quantised weights of each kind run', async () => {
  for (const type of ['q4_1', 'q8_0'] as const) {
    const { gpu } = await both(() => tinyFiles({ type, context: 128 }))
    expect((await greedyOf(gpu.submit(request(1)))).ids).toHaveLength(6)
  }
})

test('predicted and refined prefill', async () => {
  const files = () => tinyFiles({ layers: 7, context: 256 })
  const plain = await Engine.load(files(), { wasm })
  opened.push(plain)
  const predictor = memorySource('tiny', await writePredictor(tinyPredictor(plain.identity)))
  // How much is refined before a token depends on measured times, unless there is no clock.
  const { cpu, gpu } = await both(files, { predictor, schedule: { stallMs: 1e6, refineMs: 0 } })
  for (const prefill of ['predicted', 'refined'] as const) {
    const pair = await answersOf({ cpu, gpu }, request(7, { prefill, tenant: prefill }))
    expectNearlySame([pair], logitBound(cpu.archive.config))
  }
})

test('a companion on a GPU sends K and V and relays answers', async () => {
  const { cpu, gpu } = await both(() => tinyFiles({ context: 256 }))
  for (const way of ['remote', 'relay'] as const) {
    const { routed, reports } = going(way, cpu, companionOf(gpu))
    const asked = request(8, { tenant: way })
    const got = await greedyOf(routed.submit(asked))
    const want = await greedyOf(cpu.submit({ ...asked, tenant: `${way} alone` }))
    expectNearlySame([[got, want]], logitBound(cpu.archive.config))
    expect(reports[0]!.ending).toBe('succeeded')
  }
})

/** Half of the margin that test/golden/stories.test.ts finds in every step of this model. */
const storyBound = 2e-3
const model = besideRepository('models/stories260K/stories260K.bin')
const tokens = besideRepository('models/stories260K/tok512.bin')
test.runIf(model && tokens)('stories260K writes the same story', async () => {
  const [weights, vocabulary] = [await readFile(model!), await readFile(tokens!)]
  const { cpu, gpu } = await both(() => llama2cFiles(weights, vocabulary))
  const asked = { prompt: 'Once upon a time', raw: true, maxTokens: 32, topLogprobs: 2 }
  expectNearlySame([await answersOf({ cpu, gpu }, asked)], storyBound)
})
