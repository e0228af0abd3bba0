/** Checks that models can be loaded, before a server that loads them later begins to serve. */
import type { ModelHeader } from '../edge/purpose.ts'
import { checkLoad } from '../src/engine/check.ts'
import { checkFolder } from '../src/onnx/folder.ts'
import { requireWhole } from '../src/onnx/frame.ts'
import type { LoadOptions } from './index.ts'
import { loadableMemory, type NeededMemory, neededByArchive, neededByWeights } from './memory.ts'
import { exportFiles, type OnnxOptions, requireRuntime } from './onnx.ts'
import { auxiliaryName } from './predictors.ts'
import { modelFiles } from './pull-model.ts'
import { loadWasm } from './wasm.ts'

/** What a check has found. */
export interface CheckedModel extends NeededMemory {
  /** Undefined for an ONNX export, of which only the graph says what it is for. */
  readonly header?: ModelHeader
}

/**
 * Checks everything of `loadEngine` but the weights, and resolves with the memory that it needs. Throws
 * what `loadEngine` throws.
 */
export async function checkEngine(model: string, options: LoadOptions = {}): Promise<CheckedModel> {
  const { pull, auxiliary: named, onProgress: _, ...rest } = options
  const second = named ?? (await auxiliaryName(options.predictor))
  const files = await modelFiles(model, pull)
  try {
    const auxiliary = second === undefined ? undefined : await modelFiles(second, pull)
    await auxiliary?.close()
    const wasm = options.wasm ?? (await loadWasm(options.build ?? 'auto', 1))
    const { archive, settings } = await checkLoad(files, { room: loadableMemory, ...rest, wasm, threads: 1 })
    const { context, model: loading } = settings
    const { name, config, embedding } = archive
    const header = { name, config, ...(embedding && { embedding }) }
    return { ...neededByArchive(archive, context, loading.kv), header }
  } finally {
    await files.close()
  }
}

/** Does the same for `loadOnnx`: of the graph it checks that the file is whole. */
export async function checkOnnx(path: string, options: OnnxOptions = {}): Promise<NeededMemory> {
  await requireRuntime(options)
  const files = await exportFiles(path)
  try {
    await requireWhole(files)
    return neededByWeights(await checkFolder(files, options))
  } finally {
    await files.close()
  }
}
