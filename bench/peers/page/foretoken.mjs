/** Runs foretoken in a tab, on one thread. */
import { Engine, memorySource } from '../../../src/index.ts'

let engine
let session

export async function load({ model }) {
  const bytes = new Uint8Array(await (await fetch(model)).arrayBuffer())
  const compile = (build) => WebAssembly.compileStreaming(fetch(`/core/${build}.wasm`)).catch(() => undefined)
  const [relaxed, simd128] = await Promise.all(['relaxed', 'simd128'].map(compile))
  const files = { name: 'model', files: ['model.gguf'], open: async () => memorySource('model.gguf', bytes) }
  engine = await Engine.load(files, { wasm: { ...(relaxed && { relaxed }), simd128 }, context: 2048 })
}

export async function answer(ids, n) {
  session = await engine.prefill(ids)
  const out = []
  while (out.length < n) {
    out.push(argmax(session.logits))
    await session.step(out.at(-1))
  }
  session.release()
  return out
}

export async function prefill(ids) {
  session?.release()
  const begun = performance.now()
  session = await engine.prefill(ids)
  argmax(session.logits)
  return performance.now() - begun
}

export async function decode(steps) {
  const begun = performance.now()
  for (let i = 0; i < steps; i++) await session.step(argmax(session.logits))
  return performance.now() - begun
}

function argmax(logits) {
  let best = 0
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i
  return best
}
