/**
 * Compares a whole model on WebGPU with the Rust core: greedy ids and logits.
 *
 * The Rust core quantises activations to int8 before a product with quantised weights; shaders keep
 * f32. Therefore it gets the same weights in f32 here, with which it keeps f32, too.
 */
import assert from 'node:assert/strict'
import { modelFiles } from '../../node/index.ts'
import { loadWasm } from '../../node/wasm.ts'
import { openWebGpu } from '../../node/webgpu.ts'
import type { Backend } from '../../src/backend/backend.ts'
import { createWasmBackend } from '../../src/backend/wasm/backend.ts'
import { Engine } from '../../src/index.ts'
import { inFloats } from '../helpers/float-backend.ts'

export interface WebGpuCheck {
  readonly build: string
  readonly prompt_tokens: number
  readonly tokens: number
  readonly worst_logit: number
  readonly seconds: number
}

const prompt = 'Write one sentence about the sea, and one about the wind that moves it.'

export async function checkWebGpu(model: string, tokens: number, say: (text: string) => void): Promise<WebGpuCheck> {
  const wasm = await loadWasm('auto', 1)
  const load = async (backend: Backend) => {
    const files = await modelFiles(model)
    try {
      return await Engine.load(files, { wasm, backend, context: 256, passTokens: 64 })
    } finally {
      await files.close()
    }
  }
  const cpu = await load(inFloats(await createWasmBackend({ modules: wasm })))
  const gpu = await load(await openWebGpu())
  const begun = performance.now()
  try {
    say(gpu.backend.build)
    const ids = cpu.promptIds(prompt, { raw: false })
    const expected = await greedy(cpu, ids, tokens)
    const got = await greedy(gpu, ids, tokens, say)
    assert.deepEqual(got.ids, expected.ids, 'greedy ids differ')
    const worst = farthest(got.logits, expected.logits)
    assert.ok(worst <= 2e-2, `a logit is ${worst} off; 0.02 is allowed`)
    const seconds = Math.round((performance.now() - begun) / 1000)
    return { build: gpu.backend.build, prompt_tokens: ids.length, tokens, worst_logit: worst, seconds }
  } finally {
    await Promise.all([cpu.close(), gpu.close()])
  }
}

/** Returns greedy ids from one cache, and the logits from which each was chosen. */
async function greedy(
  engine: Engine,
  prompt: readonly number[],
  tokens: number,
  say: (text: string) => void = () => {},
) {
  const ids: number[] = []
  for await (const event of engine.submit({ prompt, raw: true, maxTokens: tokens, ignoreEos: true }))
    if (event.type === 'token') {
      ids.push(event.id)
      say(`token ${ids.length} of ${tokens}`)
    }
  const { logits } = await engine.workbench.logitsAfter({ prompt, continuations: [ids] })
  return { ids, logits: logits[0]! }
}

function farthest(a: Float32Array, b: Float32Array): number {
  assert.equal(a.length, b.length)
  return a.reduce((worst, value, at) => Math.max(worst, Math.abs(value - b[at]!)), 0)
}
