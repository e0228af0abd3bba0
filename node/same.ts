/** Says whether two names mean the same files, so that nobody loads one model twice. */
import { realpathSync } from 'node:fs'
import { realpath } from 'node:fs/promises'
import { join } from 'node:path'
import { folderFiles } from './model-files.ts'
import { parseName } from './names.ts'
import { findModel } from './store.ts'

/** Returns where a path leads, and any other name as it is. */
export function pathOf(model: string): string {
  try {
    return realpathSync(model)
  } catch {
    return model
  }
}

/**
 * Resolves with a text that is the same for names of the same weights: the paths of their files, or the
 * known name of a model that is not here. Throws `not_found` and `bad_argument` for a name without a
 * meaning.
 */
export async function sameKey(model: string): Promise<string> {
  const parsed = parseName(model)
  if (parsed.kind === 'path') {
    const path = await realpath(parsed.path)
    // A file alone has no other files beside it.
    if (/\.(gguf|onnx)$/.test(path)) return path
    const { files } = await folderFiles(path)
    return weightsOf(files.map((file) => join(path, file))).then((paths) => paths || path)
  }
  const stored = await findModel(parsed.name)
  return (stored && (await weightsOf(stored.files.map(({ path }) => path)))) || parsed.name
}

/** Resolves with the paths of the weights among files, without links. */
async function weightsOf(paths: readonly string[]): Promise<string> {
  const weights = paths.filter((path) => /\.(gguf|safetensors|foretoken|onnx)$/.test(path))
  return (await Promise.all(weights.map((path) => realpath(path).catch(() => path)))).sort().join('\n')
}
