/** foretoken in Node: models by name, weights from disk, compute threads. Everything of `foretoken` is here, too. */
import { Engine, type EngineOptions } from '../src/index.ts'
import { nodeSpawn, nodeText } from '../workers/node.ts'
import { defaultThreads } from './cores.ts'
import { defaultModel } from './names.ts'
import { auxiliaryName } from './predictors.ts'
import { modelFiles, type PullOptions } from './pull.ts'
import { loadWasm } from './wasm.ts'
import { computeWorker, textWorker } from './workers.ts'

export * from '../src/index.ts'
export { nodeSpawn, nodeText } from '../workers/node.ts'
export { machineKey, machineKeyPath, makeMachineKey } from './companion-key.ts'
export { defaultThreads, performanceCores } from './cores.ts'
export { fileError } from './disk.ts'
export { fileSource } from './file-source.ts'
export { peerFetch } from './http.ts'
export { type LockOptions, withLock } from './lock.ts'
export { folderFiles, type OpenModelFiles } from './model-files.ts'
export { aliases, defaultModel } from './names.ts'
export { isOnnx, loadOnnx, type OnnxOptions } from './onnx.ts'
export { pageFile, tabModel } from './page.ts'
export { predictorFile, predictorPath, shippedPredictor } from './predictors.ts'
export { modelFiles, type PullOptions, type PullProgress, pullModel } from './pull.ts'
export { findModel, listModels, removeModel, type StoredModel } from './store.ts'
export { loadWasm } from './wasm.ts'

export interface LoadOptions extends Partial<Omit<EngineOptions, 'onProgress' | 'auxiliary'>> {
  /** The smaller model that a predictor reads, named as the model is. Default: what the predictor says, if that is an alias. */
  readonly auxiliary?: string
  /** How the model may be fetched if it is not here. */
  readonly pull?: PullOptions
  /** Bytes of weights read, and in all. */
  readonly onProgress?: (done: number, total: number) => void
}

/**
 * An engine for a model named by alias, `hf:owner/repo`, address or path; it is pulled if it is not here. Threads:
 * performance cores, at most 4. Throws what pulling and `Engine.load` throw.
 */
export async function loadEngine(model: string = defaultModel, options: LoadOptions = {}): Promise<Engine> {
  const { pull, auxiliary: named, ...rest } = options
  const threads = options.threads ?? defaultThreads()
  const second = named ?? (await auxiliaryName(options.predictor))
  const [files, auxiliary, wasm] = await Promise.all([
    modelFiles(model, pull),
    second === undefined ? undefined : modelFiles(second, pull),
    options.wasm ?? loadWasm(options.build ?? 'auto', threads),
  ])
  try {
    const parts = { ...rest, threads, wasm, ...(auxiliary && { auxiliary }) }
    return await Engine.load(files, { spawn: nodeSpawn(computeWorker), spawnText: nodeText(textWorker), ...parts })
  } finally {
    // All weights are in memory, or none will be.
    await files.close()
    await auxiliary?.close()
  }
}
