/**
 * Runs a model in the Rust core with weights and activations in f32, with the predictor that ships
 * for it.
 */
import { modelFiles, shippedPredictor } from '../../node/index.ts'
import { loadWasm } from '../../node/wasm.ts'
import { createWasmBackend } from '../../src/backend/wasm/backend.ts'
import { type ByteSource, Engine, memorySource } from '../../src/index.ts'
import { readPredictor, writePredictor } from '../../src/predict/file.ts'
import { inFloats } from './float-backend.ts'

/** Its identity differs from the file's, so the predictor has to be bound to the new one. */
export async function floatEngine(
  model: string,
  options: Pick<Parameters<typeof Engine.load>[1], 'context' | 'kvTokens'> = { context: 1024 },
): Promise<Engine> {
  const shipped = await readPredictor((await shippedPredictor(model))!)
  const plain = await load(model, options)
  const header = { ...shipped.header, base: plain.identity }
  await plain.close()
  return load(model, { ...options, predictor: memorySource('predictor', await writePredictor({ ...shipped, header })) })
}

async function load(
  model: string,
  options: { context?: number; kvTokens?: number; predictor?: ByteSource },
): Promise<Engine> {
  const wasm = await loadWasm('auto', 1)
  const files = await modelFiles(model)
  try {
    const backend = inFloats(await createWasmBackend({ modules: wasm }))
    return await Engine.load(files, { wasm, backend, prefixBytes: 0, ...options })
  } finally {
    await files.close()
  }
}
