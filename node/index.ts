/**
 * foretoken in Node: models by name, weights from disk, compute threads. It also exports everything
 * of `foretoken`.
 */
import { Engine, type EngineOptions } from '../src/index.ts'
import { nodeSpawn, nodeText } from '../workers/node.ts'
import { defaultThreads } from './cores.ts'
import { loadGuides } from './guides.ts'
import { loadableMemory } from './memory.ts'
import { defaultModel } from './names.ts'
import { auxiliaryName } from './predictors.ts'
import { modelFiles, type PullOptions } from './pull-model.ts'
import { loadWasm } from './wasm.ts'
import { computeWorker, textWorker } from './workers.ts'

export * from '../src/index.ts'
export { nodeSpawn, nodeText } from '../workers/node.ts'
export {
  type CatalogueEntry,
  type CatalogueKind,
  catalogue,
  catalogueKey,
  fits,
  memoryOf,
} from './catalogue.ts'
export { machineKey, machineKeyPath, makeMachineKey } from './companion-key.ts'
export { defaultThreads, performanceCores } from './cores.ts'
export { fileError } from './disk.ts'
export { fileSource } from './file-source.ts'
export { loadGuides } from './guides.ts'
export { peerFetch } from './http.ts'
export { type LockOptions, withLock } from './lock.ts'
export { availableMemory, type NeededOptions, neededBytes, reclaimMemory } from './memory.ts'
export { folderFiles, type OpenModelFiles } from './model-files.ts'
export { aliases, defaultModel, type Licence } from './names.ts'
export { isOnnx, loadOnnx, type OnnxOptions } from './onnx.ts'
export { pageFile, tabModel } from './page.ts'
export { type PredictorSize, predictorFile, predictorPath, shippedPredictor } from './predictors.ts'
export { modelFiles, type PullOptions, type PullProgress, pullModel } from './pull-model.ts'
export { findModel, listModels, removeModel, type StoredModel } from './store.ts'
export { loadWasm } from './wasm.ts'

export interface LoadOptions extends Partial<Omit<EngineOptions, 'onProgress' | 'auxiliary'>> {
  /**
   * Name of the smaller model that a predictor reads. Default: the name in the predictor, if it is
   * an alias.
   */
  readonly auxiliary?: string
  /** How to fetch the model if it is not here. */
  readonly pull?: PullOptions
  /** Called with the bytes of weights read, and the total. */
  readonly onProgress?: (done: number, total: number) => void
}

/**
 * Loads an engine for a model named by alias, `hf:owner/repo`, address or path, and pulls the model
 * if it is not here. Default threads: performance cores, at most 4. Default room: the memory of this
 * machine. Throws what pulling and `Engine.load` throw.
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
    const parts = { guides: loadGuides, room: loadableMemory, ...rest, threads, wasm, ...(auxiliary && { auxiliary }) }
    return await Engine.load(files, { spawn: nodeSpawn(computeWorker), spawnText: nodeText(textWorker), ...parts })
  } finally {
    // All weights are in memory now, or loading failed.
    await files.close()
    await auxiliary?.close()
  }
}
