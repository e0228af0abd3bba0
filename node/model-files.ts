/**
 * A model on disk as ModelFiles: a single .gguf, a folder, or a list of files that may lie
 * anywhere.
 */
import { readdir, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { ForetokenError, type ModelFiles } from '../src/index.ts'
import { fileError } from './disk.ts'
import { type FileSource, fileSource } from './file-source.ts'

export interface OpenModelFiles extends ModelFiles {
  /** Closes every file that was opened. */
  close(): Promise<void>
}

/**
 * Opens the model at `path`: a .gguf file or a Hugging Face folder, with its `onnx/` and its modules for
 * embeddings if present.
 * Throws `not_found`, `bad_model`, `io`.
 */
export async function folderFiles(path: string): Promise<OpenModelFiles> {
  const at = resolve(path)
  try {
    const found = await stat(at)
    if (found.isFile()) return listedFiles(basename(at), new Map([[basename(at), at]]))
    const exported = (await filesIn(join(at, 'onnx'))).map((name) => `onnx/${name}`)
    const names = [...(await filesIn(at)), ...exported, ...(await pooledIn(at))]
    if (!names.some((name) => /\.(gguf|safetensors|foretoken|onnx)$/.test(name)))
      throw new ForetokenError(
        'bad_model',
        `${path} holds no .gguf, .safetensors, .foretoken or .onnx file; name a model's folder`,
      )
    return listedFiles(basename(at), new Map(names.map((name) => [name, join(at, name)])))
  } catch (error) {
    throw fileError(error, path)
  }
}

/** Returns the files of the modules that make embeddings, such as `1_Pooling/config.json` and `2_Dense/model.safetensors`. */
async function pooledIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder).catch(() => [])
  const names = entries.filter((name) => /^\d{1,2}_[A-Za-z]{1,40}$/.test(name)).sort()
  const found = await Promise.all(names.map((name) => filesIn(join(folder, name))))
  const wanted = ['config.json', 'model.safetensors']
  return names.flatMap((name, index) =>
    wanted.filter((file) => found[index]?.includes(file)).map((file) => `${name}/${file}`),
  )
}

/** Returns the sorted names of a folder's files; none if the folder does not exist. */
async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return []
    throw error
  })
  return entries
    .filter((entry) => entry.isFile() || entry.isSymbolicLink())
    .map((entry) => entry.name)
    .sort()
}

/** Returns ModelFiles for files by name, each at its own path. */
export function listedFiles(name: string, paths: ReadonlyMap<string, string>): OpenModelFiles {
  const opened: FileSource[] = []
  return {
    name,
    files: [...paths.keys()],
    async open(file) {
      const path = paths.get(file)
      if (path === undefined)
        throw new ForetokenError('not_found', `${name} has no file ${file}; it has ${[...paths.keys()].join(', ')}`)
      const source = await fileSource(path)
      opened.push(source)
      return source
    },
    async close() {
      await Promise.all(opened.splice(0).map((source) => source.close()))
    },
  }
}
