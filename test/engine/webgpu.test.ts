/** An engine on WebGPU, in software, says what one on the Rust core says. */
import { readFile } from 'node:fs/promises'
import { afterAll, expect, test, vi } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import {
  Engine,
  type GenerateRequest,
  type ModelFiles,
  memorySource,
  type Submission,
  type TokenEvent,
} from '../../src/index.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { besideRepository } from '../golden/golden.ts'
import { randomPrompt } from '../helpers/answers.ts'
import { companionOf, going } from '../helpers/companion.ts'
import { llama2cFiles } from '../helpers/llama2c.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPredictor } from '../helpers/tiny-predictor.ts'
import { softwareBackend } from '../helpers/webgpu.ts'

const wasm = await loadWasm('auto', 1)
const opened: Engine[] = []
afterAll(() => Promise.all(opened.map((engine) => engine.close())))

/** The same model on both. */
async function both(files: () => ModelFiles, options: Omit<Parameters<typeof Engine.load>[1], 'wasm'> = {}) {
  const cpu = await Engine.load(files(), { ...options, wasm })
  const gpu = await Engine.load(files(), { ...options, wasm, backend: await softwareBackend() })
  opened.push(cpu, gpu)
  // Two ends of a stream must agree on what model they have.
  expect(gpu.identity).toBe(cpu.identity)
  return { cpu, gpu }
}

async function idsOf(answer: Submission | AsyncIterable<{ type: string }>): Promise<readonly number[]> {
  for await (const event of answer) if (event.type === 'done') return (event as unknown as { ids: number[] }).ids
  throw new Error('no end')
}

async function tokensOf(answer: Submission): Promise<TokenEvent[]> {
  const tokens: TokenEvent[] = []
  for await (const event of answer) if (event.type === 'token') tokens.push(event)
  return tokens
}

const request = (seed: number, change: Partial<GenerateRequest> = {}): GenerateRequest => ({
  prompt: randomPrompt(20 + seed * 17, seed),
  maxTokens: 6,
  ignoreEos: true,
  ...change,
})

// f32 weights: the Rust core's activations are f32 there, too.
test('greedy ids are equal, alone and concurrently, over chunks and cached prefixes', async () => {
  const { cpu, gpu } = await both(() => tinyFiles({ context: 256 }), { passTokens: 32 })
  expect(gpu.backend.build).toMatch(/^webgpu /)
  for (const seed of [2, 2])
    expect(await idsOf(gpu.submit(request(seed)))).toEqual(await idsOf(cpu.submit(request(seed))))
  const many = [1, 3].map((seed) => request(seed))
  const told = await Promise.all(many.map((one) => idsOf(gpu.submit(one))))
  expect(told).toEqual(await Promise.all(many.map((one) => idsOf(cpu.submit(one)))))
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
    const [got, want] = [await tokensOf(gpu.submit(request(3, way))), await tokensOf(cpu.submit(request(3, way)))]
    expect(got.map(({ id }) => id)).toEqual(want.map(({ id }) => id))
    for (const [i, token] of got.entries()) {
      expect(token.logprob).toBeCloseTo(want[i]!.logprob, 4)
      expect(token.topLogprobs?.map(({ id }) => id)).toEqual(want[i]!.topLogprobs?.map(({ id }) => id))
    }
    calls.push(told.mock.calls.length)
  }
  expect(calls[0]).toBeGreaterThanOrEqual(6)
  expect(calls[1]).toBeGreaterThanOrEqual(calls[0]! + 6)
  expect(calls[2]).toBe(calls[1])
})

test.each(['f16', 'int8'] as const)('%s pages', async (kv) => {
  const { cpu, gpu } = await both(() => tinyFiles({ context: 128 }), { kv })
  expect(await idsOf(gpu.submit(request(1)))).toEqual(await idsOf(cpu.submit(request(1))))
})

test('quantised weights of each kind run', async () => {
  for (const type of ['q4_1', 'q8_0'] as const) {
    const { gpu } = await both(() => tinyFiles({ type, context: 128 }))
    expect(await idsOf(gpu.submit(request(1)))).toHaveLength(6)
  }
})

test('predicted and refined prefill', async () => {
  const files = () => tinyFiles({ layers: 7, context: 256 })
  const plain = await Engine.load(files(), { wasm })
  opened.push(plain)
  const predictor = memorySource('tiny', await writePredictor(tinyPredictor(plain.identity)))
  const { cpu, gpu } = await both(files, { predictor })
  const asked = request(7, { prefill: 'refined' })
  expect(await idsOf(gpu.submit(asked))).toEqual(await idsOf(cpu.submit(asked)))
})

test('a companion on a GPU sends K and V and relays answers', async () => {
  const { cpu, gpu } = await both(() => tinyFiles({ context: 256 }))
  for (const way of ['remote', 'relay'] as const) {
    const { routed, reports } = going(way, cpu, companionOf(gpu))
    const asked = request(8, { tenant: way })
    const got = await idsOf(routed.submit(asked))
    expect(got).toEqual(await idsOf(cpu.submit({ ...asked, tenant: `${way} alone` })))
    expect(reports[0]!.ending).toBe('succeeded')
  }
})

const model = besideRepository('models/stories260K/stories260K.bin')
const tokens = besideRepository('models/stories260K/tok512.bin')
test.runIf(model && tokens)('stories260K writes the same story', async () => {
  const [weights, vocabulary] = [await readFile(model!), await readFile(tokens!)]
  const { cpu, gpu } = await both(() => llama2cFiles(weights, vocabulary))
  const asked = { prompt: 'Once upon a time', raw: true, maxTokens: 32 }
  expect(await idsOf(gpu.submit(asked))).toEqual(await idsOf(cpu.submit(asked)))
})
