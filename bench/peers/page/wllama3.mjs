/** The newest wllama, which has whole completions only: prefill is the time to the first chunk of its stream. */
import { Wllama } from '/modules/wllama-newest/esm/index.js'

let wllama

export async function load({ model }) {
  wllama = new Wllama({ default: '/modules/wllama-newest/esm/wasm/wllama.wasm' }, { suppressNativeLog: true })
  const blob = await (await fetch(model)).blob()
  await wllama.loadModel([blob], { n_ctx: 2048, n_threads: 1, n_gpu_layers: 0, n_parallel: 1, warmup: false })
}

async function complete(ids, count) {
  const begun = performance.now()
  let first = 0
  let text = ''
  await wllama.createCompletion({
    prompt: ids,
    max_tokens: count,
    temperature: 0,
    cache_prompt: false,
    ignore_eos: true,
    stream: true,
    onData: (chunk) => {
      first ||= performance.now() - begun
      text += chunk.choices?.[0]?.text ?? ''
    },
  })
  return { first, total: performance.now() - begun, text }
}

export async function prefill(ids) {
  return (await complete(ids, 1)).first
}

export async function decode(ids, steps) {
  const { first, total } = await complete(ids, steps + 1)
  return { ms: total - first, prefill_ms: first }
}

export async function answer(ids, n) {
  return (await complete(ids, n)).text
}
