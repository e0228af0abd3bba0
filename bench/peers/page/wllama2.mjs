/**
 * Runs wllama 2.2.1, whose SIMD kernels are intact, with its calls for single passes and samples.
 */
import { Wllama } from '/modules/@wllama/wllama/esm/index.js'

const at = '/modules/@wllama/wllama/esm'
const batch = 512
let wllama
let next

export async function load({ model }) {
  const paths = Object.fromEntries(
    ['single-thread', 'multi-thread'].map((kind) => [`${kind}/wllama.wasm`, `${at}/${kind}/wllama.wasm`]),
  )
  wllama = new Wllama(paths, { suppressNativeLog: true })
  const blob = await (await fetch(model)).blob()
  await wllama.loadModel([blob], { n_ctx: 2048, n_threads: 1, n_batch: batch })
  await wllama.samplingInit({ temp: 0 })
}

export async function prefill(ids) {
  await wllama.kvClear()
  const begun = performance.now()
  for (let from = 0; from < ids.length; from += batch) await wllama.decode(ids.slice(from, from + batch), {})
  next = (await wllama.samplingSample()).token
  return performance.now() - begun
}

export async function decode(steps) {
  const begun = performance.now()
  for (let i = 0; i < steps; i++) await step()
  return performance.now() - begun
}

export async function answer(ids, n) {
  await prefill(ids)
  const out = [next]
  while (out.length < n) out.push(await step())
  return out
}

async function step() {
  await wllama.decode([next], {})
  next = (await wllama.samplingSample()).token
  return next
}
