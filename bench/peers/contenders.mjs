/**
 * The engines. Each has `load()`, `answer(ids, n)` (its greedy text of n tokens) and `measure(ids,
 * steps)`: `prefill_ms` from an empty cache to the first token chosen, `decode_ms` for each of
 * `steps` more, and both as CPU time.
 */
import { join } from 'node:path'
import { loadEngine } from '../../node/index.ts'
import { startBrowsers } from './browser.mjs'

export async function contenders({ models, gguf, only, root, here }) {
  const browsers = await startBrowsers({ models, root, here, gguf })
  const tokenizer = await loadEngine(gguf, { threads: 1, context: 2048 })
  const tab = (name, weights, page, options) => ({
    name,
    weights,
    where: 'chromium',
    ...browsers.tab(page, options, tokenizer),
  })
  const all = [
    { name: 'foretoken', weights: 'Q4_1', where: 'node', ...ours(gguf) },
    tab('foretoken', 'Q4_1', 'foretoken', { model: '/gguf' }),
    tab('onnxruntime-web', 'int8', 'onnx', { model: '/models/onnx-int8/' }),
    tab('wllama-2.2.1', 'Q4_1', 'wllama2', { model: '/models/Q4_1.gguf' }),
    tab('wllama-2.2.1', 'Q8_0', 'wllama2', { model: '/models/Q8_0.gguf' }),
    tab('wllama-newest', 'Q4_1', 'wllama3', { model: '/models/Q4_1.gguf', asText: true }),
    tab('wllama-newest', 'Q8_0', 'wllama3', { model: '/models/Q8_0.gguf', asText: true }),
    { name: 'llama.cpp', weights: 'Q4_1', where: 'node', ...llamaCpp(join(models, 'Q4_1.gguf'), tokenizer) },
    { name: 'llama.cpp', weights: 'Q4_0', where: 'node', ...llamaCpp(join(models, 'Q4_0.gguf'), tokenizer) },
  ]
  return {
    list: only ? all.filter(({ name, where }) => only.includes(name) || only.includes(`${name}@${where}`)) : all,
    tokenizer,
    close: () => browsers.close(),
  }
}

function ours(gguf) {
  let engine
  return {
    load: async () => {
      engine = await loadEngine(gguf, { threads: 1, context: 2048 })
    },
    answer: async (ids, n) => {
      const session = await engine.prefill(ids)
      const answer = []
      while (answer.length < n) {
        answer.push(argmax(session.logits))
        await session.step(answer.at(-1))
      }
      session.release()
      return engine.tokenizer.decode(answer)
    },
    measure: async (ids, steps) => {
      const clock = stopwatch()
      const session = await engine.prefill(ids)
      let token = argmax(session.logits)
      const prefill = clock()
      for (let i = 0; i < steps; i++) {
        await session.step(token)
        token = argmax(session.logits)
      }
      const decode = clock()
      session.release()
      return sample(prefill, decode, steps)
    },
  }
}

function llamaCpp(path, tokenizer) {
  let sequence
  async function* generate(ids) {
    await sequence.clearHistory()
    yield* sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })
  }
  return {
    load: async () => {
      const { getLlama, LlamaLogLevel } = await import('node-llama-cpp')
      const llama = await getLlama({ gpu: false, build: 'never', maxThreads: 1, logLevel: LlamaLogLevel.error })
      const model = await llama.loadModel({ modelPath: path })
      const context = await model.createContext({ contextSize: 2048, batchSize: 512, threads: 1, sequences: 1 })
      sequence = context.getSequence()
    },
    answer: async (ids, n) => {
      const answer = []
      for await (const token of generate(ids)) if (answer.push(token) === n) break
      return tokenizer.tokenizer.decode(answer)
    },
    measure: async (ids, steps) => {
      const clock = stopwatch()
      const tokens = generate(ids)
      await tokens.next()
      const prefill = clock()
      for (let i = 0; i < steps; i++) await tokens.next()
      const decode = clock()
      await tokens.return()
      return sample(prefill, decode, steps)
    },
  }
}

/**
 * Returns a function that gives the wall and CPU milliseconds of this process since its last call.
 */
function stopwatch() {
  let wall = performance.now()
  let cpu = process.cpuUsage()
  return () => {
    const used = process.cpuUsage(cpu)
    const lap = { wall: performance.now() - wall, cpu: (used.user + used.system) / 1000 }
    wall = performance.now()
    cpu = process.cpuUsage()
    return lap
  }
}

function sample(prefill, decode, steps) {
  return {
    prefill_ms: prefill.wall,
    prefill_cpu_ms: prefill.cpu,
    decode_ms: decode.wall / steps,
    decode_cpu_ms: decode.cpu / steps,
  }
}

function argmax(logits) {
  let best = 0
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i
  return best
}
