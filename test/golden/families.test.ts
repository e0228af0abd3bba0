/**
 * Every family: a row has the same bits alone, in chunks and packed with other prompts, and a GPU
 * (in software) gives what transformers gives.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { folderFiles } from '../../node/model-files.ts'
import { loadWasm } from '../../node/wasm.ts'
import type { Backend } from '../../src/backend/backend.ts'
import { createWasmBackend } from '../../src/backend/wasm/backend.ts'
import type { KvType } from '../../src/base/kv.ts'
import { LoadedModel } from '../../src/model/forward.ts'
import { openModel } from '../../src/model/open.ts'
import { softwareBackend } from '../helpers/webgpu.ts'
import { compareTop, readGolden, vectors } from './golden.ts'

/** Folders whose golden file is of a model that continues texts. */
const folders = readdirSync(vectors).filter((name) => {
  const golden = new URL(`${name}/golden.json`, vectors)
  return name.startsWith('tiny-') && existsSync(golden) && JSON.parse(readFileSync(golden, 'utf8')).kind === 'model'
})
const modules = await loadWasm('simd128')
const gpu = await softwareBackend()
const opened: Backend[] = [gpu]
afterAll(() => Promise.all(opened.map((backend) => backend.close())))

async function load(backend: Backend, name: string, kv: KvType): Promise<LoadedModel> {
  const files = await folderFiles(fileURLToPath(new URL(name, vectors)))
  try {
    return await LoadedModel.load(backend, await openModel(files), { passTokens: 512, logitRows: 3, kv })
  } finally {
    await files.close()
  }
}

/** Runs prompts in passes that have a part of each, `sizes` tokens in turn; returns the last logits of each. */
async function run(model: LoadedModel, prompts: readonly (readonly number[])[], sizes: readonly number[]) {
  const pages = prompts.map(({ length }) => model.pool.add(Math.ceil(length / 16)))
  const last = new Map<number, Float32Array>()
  const past = prompts.map(() => 0)
  for (let turn = 0; last.size < prompts.length; turn++) {
    const parts = prompts
      .map((ids, index) => ({
        index,
        ids: ids.slice(past[index], past[index]! + sizes[(turn + index) % sizes.length]!),
      }))
      .filter(({ ids }) => ids.length > 0)
    let start = 0
    const segments = parts.map(({ index, ids }) => {
      const long = prompts[index]!.length > (model.config.ropeLong?.beyond ?? Number.POSITIVE_INFINITY)
      const segment = { start, length: ids.length, past: past[index]!, pages: pages[index]!, long }
      start += ids.length
      past[index]! += ids.length
      return segment
    })
    const done = parts.flatMap(({ index }, at) => (past[index] === prompts[index]!.length ? [{ index, at }] : []))
    const outputs = done.map(({ at }) => segments[at]!.start + segments[at]!.length - 1)
    const logits = await model.forward({ ids: parts.flatMap(({ ids }) => ids), segments, outputs })
    const vocab = logits.length / outputs.length
    done.forEach(({ index }, row) => {
      last.set(index, logits.slice(row * vocab, (row + 1) * vocab))
    })
  }
  for (const list of pages) model.pool.remove(list)
  return prompts.map((_, index) => last.get(index)!)
}

describe.each(folders)('%s', (name) => {
  const { cases } = readGolden(`${name}/golden.json`, 'model')
  const prompts = cases.map(({ ids }) => ids)

  test.each(['f32', 'int8'] as const)('packing and chunks of any size change no bit (%s pages)', async (kv) => {
    const backend = await createWasmBackend({ modules, build: 'simd128' })
    opened.push(backend)
    const model = await load(backend, name, kv)
    const alone: Float32Array[] = []
    for (const prompt of prompts) alone.push(...(await run(model, [prompt], [512])))
    for (const sizes of [[512], [7, 1, 40], [16], [1, 33]]) expect(await run(model, prompts, sizes)).toEqual(alone)
  })

  test('gives the same likeliest tokens on a GPU', async () => {
    const model = await load(gpu, name, 'f32')
    const logits = await run(model, prompts, [60, 13])
    for (const [index, { top }] of cases.entries())
      compareTop(logits[index]!, top, { logprob: 2e-3, floor: -20, margin: 0.02 })
  })
})
