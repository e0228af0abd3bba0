/**
 * What llama.cpp answers on the same files: GGUFs of families, and tiny models in every format of
 * weights. Its ids are followed. In 16 bits each must be the likeliest here, too, unless its margin is
 * small. In fewer bits both round activations, by other blocks: in random models a few ids differ.
 */
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { folderFiles } from '../../node/model-files.ts'
import { loadWasm } from '../../node/wasm.ts'
import { type TensorType, tensorBlocks } from '../../src/base/model.ts'
import { Engine, type EngineOptions, type ModelFiles } from '../../src/index.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { type GoldenCase, readGolden, vectors } from './golden.ts'

type Cases = readonly Omit<GoldenCase, 'top'>[]

interface Golden {
  readonly models: readonly ({ readonly cases: Cases } & (
    | { readonly folder: string }
    | { readonly type: TensorType }
  ))[]
}

const { models } = readGolden<Golden>('llama-cpp.json', 'llama.cpp')
const wasm = await loadWasm('auto', 1)
/** llama.cpp does not read these windows. */
const windowless: Readonly<Record<string, readonly string[]>> = {
  'tiny-mistral': ['llama.attention.sliding_window'],
  'tiny-phi3': ['phi3.attention.sliding_window'],
}
const [families, formats] = [
  models.flatMap((model) => ('folder' in model ? [[model.folder, model.cases] as const] : [])),
  models.flatMap((model) => ('type' in model ? [[model.type, model.cases] as const] : [])),
]

/** Says of each id whether it is the likeliest here, after the ids before it, and by how much it was there. */
async function follow(files: ModelFiles, cases: Cases, options: Partial<EngineOptions> = {}) {
  const engine = await Engine.load(files, { wasm, kv: 'f32', ...options })
  const followed: { readonly what: string; readonly same: boolean; readonly margin: number }[] = []
  for (const { name, ids, greedy, margins } of cases) {
    const session = await engine.prefill(ids)
    for (const [step, id] of greedy.entries()) {
      const { logits } = session
      const best = logits.reduce((best, logit, id) => (logit > logits[best]! ? id : best), 0)
      followed.push({ what: `id ${step} after "${name}"`, same: best === id, margin: margins[step]! })
      await session.step(id)
    }
    session.release()
  }
  await engine.close()
  return followed
}

test('the ids are of every family that has a GGUF here, and of every format', () => {
  const names = [
    ...['exaone4', 'gemma2', 'gemma3', 'granite', 'hunyuan-dense', 'lfm2', 'llama3', 'mistral', 'olmo2', 'phi3'],
    ...['qwen2', 'qwen3', 'smollm3'],
  ]
  expect(families.map(([folder]) => folder)).toEqual(names.map((name) => `tiny-${name}`))
  expect(formats.map(([type]) => type)).toEqual(Object.keys(tensorBlocks))
})

describe('llama.cpp gives the same greedy ids', () => {
  test.each(families)('on the GGUF of %s', async (folder, cases) => {
    const files = await folderFiles(fileURLToPath(new URL(`${folder}/gguf`, vectors)))
    const ignoreConfig = windowless[folder] ?? []
    const followed = await follow(files, cases, { ignoreConfig })
    await files.close()
    expect(followed.filter(({ same, margin }) => !same && margin >= 0.03)).toEqual([])
    expect(followed.filter(({ margin }) => margin >= 0.03).length).toBeGreaterThan(0.95 * followed.length)
  })

  test.each(formats)('with weights in %s, of which most are surely the likeliest', async (type, cases) => {
    const followed = await follow(tinyFiles({ type }), cases)
    const same = followed.filter(({ same }) => same).length
    expect(same / followed.length, `${same} of ${followed.length}`).toBeGreaterThan(0.8)
  })
})
