/**
 * The page that `foretoken serve` shows, either built already or built now in a source checkout,
 * and its models for a tab.
 */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { purposeOf } from '../edge/purpose.ts'
import { type ByteSource, openModel } from '../src/index.ts'
import { catalogue, catalogueKey } from './catalogue.ts'
import { fileSource } from './file-source.ts'
import { hashFile } from './hash.ts'
import { memoryOfArchive } from './memory.ts'
import { isOnnx } from './onnx.ts'
import { pathInside } from './paths.ts'
import { modelFiles } from './pull-model.ts'

const source = import.meta.url.endsWith('.ts')
const folder = fileURLToPath(new URL('./web/', import.meta.url))

/** Returns a file of the page by its path; undefined if there is none. */
export async function pageFile(path: string): Promise<Uint8Array | undefined> {
  if (!/^(index\.html|sw\.js|page\/[\w.-]+)$/.test(path)) return undefined
  if (!source) return pageAsset(path)
  built ??= build()
  return (await built).get(path)
}

async function pageAsset(path: string): Promise<Uint8Array | undefined> {
  try {
    return await readFile(pathInside(folder, path))
  } catch {
    return undefined
  }
}

let built: Promise<Map<string, Uint8Array>> | undefined

async function build(): Promise<Map<string, Uint8Array>> {
  const script = new URL('../scripts/web.mjs', import.meta.url).href
  const { buildPage } = await import(script)
  return (await buildPage()).files
}

export interface TabFile {
  readonly name: string
  readonly bytes: number
  /** In hex. */
  readonly sha256: string
  readonly source: ByteSource
}

/**
 * Returns the files of a model with their hashes, its predictor (a path, alone or in options), its
 * licence where it is known, and the memory that it takes; undefined if it answers nothing in a tab:
 * an ONNX export, or a model of embeddings. The files stay open as long as the process.
 */
export async function tabModel(
  name: string,
  model: string,
  given: string | { readonly predictor?: string | undefined; readonly ignoreConfig?: readonly string[] } = {},
) {
  const { predictor, ignoreConfig } = typeof given === 'string' ? { predictor: given } : given
  if (await isOnnx(model)) return undefined
  const files = await modelFiles(model)
  const archive = await openModel(files, ignoreConfig ? { ignoreConfig } : {})
  if (purposeOf(archive) !== 'answers') return undefined
  // A model's folder may hold anything, including links to other files, so only files of a model go
  // to a tab.
  const parts = files.files.filter((file) => /\.(gguf|safetensors|foretoken|json|jinja)$/.test(file))
  const all: TabFile[] = []
  for (const file of parts) all.push(await tabFile(file, await files.open(file)))
  const key = catalogueKey(model)
  const entry = key === undefined ? undefined : catalogue[key]
  return {
    name,
    files: all,
    ...(predictor !== undefined && {
      predictor: await tabFile('predictor.safetensors', await fileSource(predictor)),
    }),
    ...(entry
      ? { licence: entry.licence, ...(entry.terms !== undefined && { terms: entry.terms }) }
      : archive.licence !== undefined && { licence: archive.licence }),
    memory: Math.ceil(memoryOfArchive(archive)),
  }
}

async function tabFile(name: string, source: ByteSource): Promise<TabFile> {
  return { name, bytes: source.size, sha256: await hashFile(source.name), source }
}
