/** Attention in integers as an engine's option: honoured, or refused by name. */
import { expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { createWasmBackend } from '../../src/backend/wasm/backend.ts'
import { type AttentionForm, Engine } from '../../src/index.ts'
import { tinyFolder } from '../helpers/tiny-folder.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const wasm = await loadWasm('auto', 1)
const ids = Array.from({ length: 150 }, (_, i) => (i * 37) % 200)

test.each([
  { kv: 'f32', window: 0 },
  { kv: 'f16', window: 0 },
  { kv: 'int8', window: 0 },
  { kv: 'f32', window: 40 },
  { kv: 'int8', window: 140 },
] as const)('$kv pages, window $window: near floats, and equal however a prompt is read', async ({ kv, window }) => {
  const files = () => tinyFiles({ metadata: { 'llama.attention.sliding_window': { u32: window } } })
  const [floats, integers, pieces] = await Promise.all([
    Engine.load(files(), { wasm, kv }),
    Engine.load(files(), { wasm, kv, attention: 'int' }),
    Engine.load(files(), { wasm, kv, attention: 'int', passTokens: 40 }),
  ])
  const logits = await Promise.all(
    [floats, integers, pieces].map(async (engine) => [...(await engine.prefill(ids)).logits]),
  )
  const [float, int, cut] = logits as [number[], number[], number[]]
  expect(int).not.toEqual(float)
  expect(int).toEqual(cut)
  const size = Math.sqrt(float.reduce((sum, value) => sum + value ** 2, 0))
  const error = Math.sqrt(float.reduce((sum, value, i) => sum + (value - int[i]!) ** 2, 0))
  expect(error / size).toBeLessThan(0.05)
  await Promise.all([floats, integers, pieces].map((engine) => engine.close()))
})

test('heads of other than a multiple of 32 dimensions are refused', async () => {
  await expect(Engine.load(tinyFolder(), { wasm, attention: 'int' })).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringMatching(/heads of this model have 8: use attention float/),
  })
})

test('another backend, and another word, are refused', async () => {
  const backend = await createWasmBackend({ modules: wasm })
  await expect(Engine.load(tinyFiles(), { wasm, backend, attention: 'int' })).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringMatching(/attention int needs the Rust core/),
  })
  const attention = 'half' as AttentionForm
  await expect(Engine.load(tinyFiles(), { wasm, attention })).rejects.toMatchObject({ code: 'bad_argument' })
})
