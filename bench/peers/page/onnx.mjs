/**
 * Runs onnxruntime-web on its wasm backend: a decoder with past keys and values as inputs and
 * outputs.
 */
import * as ort from '/modules/onnxruntime-web/dist/ort.wasm.min.mjs'

ort.env.wasm.numThreads = 1
ort.env.wasm.wasmPaths = '/modules/onnxruntime-web/dist/'
ort.env.logLevel = 'error'

const kvHeads = 3
const headDim = 64
let session
let past
let length
let next

export async function load({ model }) {
  const bytes = async (file) => new Uint8Array(await (await fetch(model + file)).arrayBuffer())
  const [graph, data] = await Promise.all([bytes('model.onnx'), bytes('model.onnx.data')])
  session = await ort.InferenceSession.create(graph, {
    executionProviders: ['wasm'],
    graphOptimizationLevel: 'all',
    externalData: [{ path: 'model.onnx.data', data }],
  })
}

async function run(ids) {
  length += ids.length
  const feeds = {
    input_ids: new ort.Tensor('int64', BigInt64Array.from(ids, BigInt), [1, ids.length]),
    attention_mask: new ort.Tensor('int64', new BigInt64Array(length).fill(1n), [1, length]),
    ...past,
  }
  const out = await session.run(feeds)
  past = Object.fromEntries(
    Object.entries(out)
      .filter(([name]) => name.startsWith('present.'))
      .map(([name, tensor]) => [name.replace('present', 'past_key_values'), tensor]),
  )
  const { data, dims } = out.logits
  next = argmax(data.subarray(data.length - dims.at(-1)))
}

export async function prefill(ids) {
  const begun = performance.now()
  length = 0
  past = Object.fromEntries(
    session.inputNames
      .filter((name) => name.startsWith('past_key_values.'))
      .map((name) => [name, new ort.Tensor('float32', new Float32Array(0), [1, kvHeads, 0, headDim])]),
  )
  await run(ids)
  return performance.now() - begun
}

export async function decode(steps) {
  const begun = performance.now()
  for (let i = 0; i < steps; i++) await run([next])
  return performance.now() - begun
}

export async function answer(ids, n) {
  await prefill(ids)
  const out = [next]
  while (out.length < n) {
    await run([next])
    out.push(next)
  }
  return out
}

function argmax(logits) {
  let best = 0
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i
  return best
}
