/**
 * Compares a whole model in ONNX Runtime Web with the Rust core: ids from exact and from predicted
 * K and V, and the time to the first token of both.
 *
 * The ONNX model has the same weights in f32. For ids the Rust core has them in f32, too, since it
 * quantises activations to int8 before products with quantised weights; for times it has them as in
 * the file.
 */
import assert from 'node:assert/strict'
import { loadEngine, modelFiles, shippedPredictor } from '../../node/index.ts'
import { type Engine, OrtEngine, type OrtModule } from '../../src/index.ts'
import { openModel } from '../../src/model/open.ts'
import { memoryFiles } from '../../src/model/source.ts'
import { floatEngine } from '../helpers/float-engine.ts'
import { llamaOnnx } from '../helpers/onnx-writer.ts'
import { random } from '../helpers/random.ts'

export interface OrtCheck {
  readonly prompts: number
  readonly tokens: number
  /** Number of prompts with the same ids as in the Rust core. */
  readonly equal: Readonly<Record<'exact' | 'predicted', number>>
  readonly ttft: {
    readonly length: number
    readonly exact_ms: readonly number[]
    readonly predicted_ms: readonly number[]
    readonly times: number
  }
}

const words =
  'the river rises in hills turns east below an old mill and meets the sea near harbour boats came back with less than they had hoped for yet all were glad'.split(
    ' ',
  )

export async function checkOrt(
  model: string,
  prompts: number,
  tokens: number,
  runs: number,
  say: (text: string) => void,
): Promise<OrtCheck> {
  const ort = (await import('onnxruntime-web')) as unknown as OrtModule & { env: { wasm: { numThreads: number } } }
  ort.env.wasm.numThreads = 1
  const onnx = await made(model)
  say(`${(onnx.length / 1e6).toFixed(0)} MB of ONNX`)
  const predictor = (await shippedPredictor(model))!
  const exported = memoryFiles('exported', { 'model.onnx': onnx })
  const quick = await loadEngine(model, { threads: 1, context: 1024, prefixBytes: 0, predictor })
  const floats = await floatEngine(model)
  const engine = await OrtEngine.load(exported, { ort, reader: floats })
  try {
    const equal = { exact: 0, predicted: 0 }
    for (const prefill of ['exact', 'predicted'] as const)
      for (let at = 0; at < prompts; at++) {
        const asked = { prompt: promptOf(quick, 80 + at * 12, at), prefill, maxTokens: tokens, ignoreEos: true }
        const [got, want] = [await engine.result(asked), await floats.submit(asked).result()]
        assert.equal(got.prefill, want.prefill)
        if (got.ids.join() === want.ids.join()) equal[prefill]++
        say(`${prefill} ${at + 1} of ${prompts}: ${got.ids.join() === want.ids.join() ? 'equal' : 'differs'}`)
      }
    return { prompts, tokens, equal, ttft: await timed(exported, ort, quick, runs, say) }
  } finally {
    await engine.close()
    await Promise.all([floats.close(), quick.close()])
  }
}

async function made(model: string): Promise<Uint8Array> {
  const files = await modelFiles(model)
  try {
    return await llamaOnnx(await openModel(files))
  } finally {
    await files.close()
  }
}

async function timed(
  exported: ReturnType<typeof memoryFiles>,
  ort: OrtModule,
  reader: Engine,
  runs: number,
  say: (text: string) => void,
): Promise<OrtCheck['ttft']> {
  const engine = await OrtEngine.load(exported, { ort, reader })
  const length = 512
  const times = { exact: [] as number[], predicted: [] as number[] }
  try {
    for (let run = -1; run < runs; run++)
      for (const prefill of ['exact', 'predicted'] as const) {
        const begun = performance.now()
        for await (const { type } of engine.generate({
          prompt: promptOf(reader, length, run + 100),
          prefill,
          maxTokens: 2,
          ignoreEos: true,
        }))
          if (type === 'token') break
        const ms = Math.round(performance.now() - begun)
        say(`${prefill}: ${ms} ms`)
        // The first run is a warm-up.
        if (run >= 0) times[prefill].push(ms)
      }
  } finally {
    await engine.close()
  }
  const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!
  return {
    length,
    exact_ms: times.exact,
    predicted_ms: times.predicted,
    times: median(times.exact) / median(times.predicted),
  }
}

/** Returns `length` ids of words in random order. */
function promptOf(engine: Engine, length: number, seed: number): number[] {
  const rng = random(seed)
  const ids: number[] = []
  while (ids.length < length) ids.push(...engine.tokenize(` ${words[rng.below(words.length)]}`))
  return ids.slice(0, length)
}
