/**
 * Runs the newest wllama, which has whole completions only: prefill is the time to the first chunk
 * of its stream.
 */
import { Wllama } from '/modules/wllama-newest/esm/index.js'

let wllama

export async function load({ model }) {
  wllama = new Wllama({ default: '/modules/wllama-newest/esm/wasm/wllama.wasm' }, { suppressNativeLog: true })
  const blob = await (await fetch(model)).blob()
  await wllama.loadModel([blob], { n_ctx: 2048, n_threads: 1, n_gpu_layers: 0, n_parallel: 1, warmup: false })
}

async function complete(prompt, count) {
  const begun = performance.now()
  let first = 0
  let text = ''
  await wllama.createCompletion({
    prompt,
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

/**
 * Returns the times of prefill and of `steps` more tokens, since a completion cannot be paused
 * between the two.
 */
export async function prefill(text, steps) {
  const { first, total } = await complete(text, steps + 1)
  return { prefill_ms: first, decode_ms: total - first }
}

export async function answer(text, n) {
  return (await complete(text, n)).text
}
