/** A model on disk as ModelFiles: a single .gguf, a folder, or a list of files that lie anywhere. */
import { readdir, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { ForetokenError, type ModelFiles } from '../src/index.ts'
import { fileError } from './disk.ts'
import { type FileSource, fileSource } from './file-source.ts'

export interface OpenModelFiles extends ModelFiles {
  /** Closes every file that was opened. */
  close(): Promise<void>
}

/** The model at `path`: a .gguf file or a Hugging Face folder. Throws `not_found`, `bad_model`, `io`. */
export async function folderFiles(path: string): Promise<OpenModelFiles> {
  const at = resolve(path)
  try {
    const found = await stat(at)
    if (found.isFile()) return listedFiles(basename(at), new Map([[basename(at), at]]))
    const names = (await readdir(at, { withFileTypes: true }))
      .filter((entry) => entry.isFile() || entry.isSymbolicLink())
      .map((entry) => entry.name)
      .sort()
    if (!names.some((name) => /\.(gguf|safetensors|foretoken)$/.test(name)))
      throw new ForetokenError(
        'bad_model',
        `${path} holds no .gguf, .safetensors or .foretoken file; name a model's folder`,
      )
    return listedFiles(basename(at), new Map(names.map((name) => [name, join(at, name)])))
  } catch (error) {
    throw fileError(error, path)
  }
}

/** Files by name, each at its own path. */
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
