/** Attention in integers as an engine's option: honoured, or refused by name. */
import { expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { createWasmBackend } from '../../src/backend/wasm/backend.ts'
import { type AttentionForm, Engine, type EngineOptions } from '../../src/index.ts'
import { tinyFolder } from '../helpers/tiny-folder.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const wasm = await loadWasm('auto', 1)
const ids = Array.from({ length: 150 }, (_, i) => (i * 37) % 200)

async function logitsOf(options: Partial<EngineOptions>, window = 0): Promise<number[]> {
  const files = tinyFiles({ metadata: { 'llama.attention.sliding_window': { u32: window } } })
  const engine = await Engine.load(files, { wasm, kv: 'int8', ...options })
  const { logits } = await engine.prefill(ids)
  await engine.close()
  return [...logits]
}

test.each([0, 40, 140])('window %i: near floats, and equal however a prompt is read', async (window) => {
  const floats = await logitsOf({ attention: 'float' }, window)
  const integers = await logitsOf({ attention: 'int' }, window)
  expect(integers).not.toEqual(floats)
  expect(await logitsOf({ attention: 'int', passTokens: 40 }, window)).toEqual(integers)
  const size = Math.sqrt(floats.reduce((sum, value) => sum + value ** 2, 0))
  const error = Math.sqrt(floats.reduce((sum, value, i) => sum + (value - integers[i]!) ** 2, 0))
  expect(error / size).toBeLessThan(0.05)
})

test('auto is one of the two', async () => {
  const both = [await logitsOf({ attention: 'float' }), await logitsOf({ attention: 'int' })]
  expect(both).toContainEqual(await logitsOf({}))
})

const load = (files: Parameters<typeof Engine.load>[0], options: Partial<EngineOptions>) =>
  Engine.load(files, { wasm, kv: 'int8', attention: 'int', ...options })

test('what integers cannot do is refused with the reason', async () => {
  const refused = (message: RegExp) => ({ code: 'unsupported', message: expect.stringMatching(message) })
  await expect(load(tinyFiles(), { kv: 'f32' })).rejects.toMatchObject(refused(/int8 pages.* kv is f32.*kv 'int8'/))
  await expect(load(tinyFolder(), {})).rejects.toMatchObject(refused(/heads of this model have 8, or .*'float'/))
  await expect(load(tinyFiles(), { build: 'simd128' })).rejects.toMatchObject(refused(/relaxed build/))
  const backend = await createWasmBackend({ modules: wasm })
  await expect(load(tinyFiles(), { backend })).rejects.toMatchObject(refused(/another backend/))
  const attention = 'half' as AttentionForm
  await expect(load(tinyFiles(), { attention })).rejects.toMatchObject({ code: 'bad_argument' })
})
