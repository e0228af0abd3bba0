/** The predictors that ship with foretoken, by the alias of their model. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { type ByteSource, ForetokenError, memorySource, readPredictorHeader } from '../src/index.ts'
import { fileError } from './disk.ts'
import { aliases } from './names.ts'
import { pathInside } from './paths.ts'

/**
 * `small` fits into an isolate beside the model. `large` is for hosts with more memory: at least as near to
 * exact for less work. Engines that exchange K and V need the same one, so that edges and companions take
 * the small one.
 */
export type PredictorSize = 'small' | 'large'

/** Returns the predictor of a model; undefined if there is none. A model with one file has it for both sizes. */
export async function shippedPredictor(model: string, size: PredictorSize = 'small'): Promise<ByteSource | undefined> {
  const path = predictorPath(model, size)
  return path === undefined ? undefined : predictorFile(path)
}

/** Returns the path of a model's predictor; undefined if there is none. */
export function predictorPath(model: string, size: PredictorSize = 'small'): string | undefined {
  if (!/^[\w.-]+$/.test(model)) return undefined
  // The folder is beside this file's, both in the source and in the package.
  const folder = fileURLToPath(new URL('../predictors', import.meta.url))
  const names = [...(size === 'large' ? ['-large'] : []), ''].map((end) => `${model.toLowerCase()}${end}.safetensors`)
  return names.map((name) => pathInside(folder, name)).find((path) => existsSync(path))
}

/**
 * Returns the alias of the smaller model that a predictor reads. It is never an address: a
 * predictor file must not decide what is fetched.
 */
export async function auxiliaryName(predictor: ByteSource | undefined): Promise<string | undefined> {
  const name = predictor && (await readPredictorHeader(predictor)).aux?.name
  return name !== undefined && Object.hasOwn(aliases, name) ? name : undefined
}

/** Opens a predictor file. Throws `not_found`, `io`. */
export async function predictorFile(path: string): Promise<ByteSource> {
  const bytes = await readFile(path).catch((error) => {
    if (error.code === 'ENOENT') throw new ForetokenError('not_found', `${path}: no such file`)
    throw fileError(error, path)
  })
  return memorySource(path, bytes)
}
