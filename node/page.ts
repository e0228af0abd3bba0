/** The page that `foretoken serve` shows: its built files, or, in a source checkout, files that are built now; and the model for a tab. */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import type { ByteSource } from '../src/index.ts'
import { fileSource } from './file-source.ts'
import { hashFile } from './hash.ts'
import { pathInside } from './paths.ts'
import { modelFiles } from './pull.ts'

const source = import.meta.url.endsWith('.ts')
const folder = fileURLToPath(new URL('./web/', import.meta.url))

/** A file of the page, by its path; undefined where there is none. */
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
  return buildPage()
}

export interface TabFile {
  readonly name: string
  readonly bytes: number
  /** Hex. */
  readonly sha256: string
  readonly source: ByteSource
}

/** The files of a model, with their hashes; and its predictor. They stay open as long as the process. */
export async function tabModel(name: string, model: string, predictor: string | undefined) {
  const { files, open } = await modelFiles(model)
  // A model's folder may hold anything, links to other files included: only what a model is made of goes to a tab.
  const parts = files.filter((file) => /\.(gguf|safetensors|foretoken|json|jinja)$/.test(file))
  const all = await Promise.all(parts.map(async (file) => tabFile(file, await open(file))))
  const own = predictor === undefined ? undefined : await tabFile('predictor.safetensors', await fileSource(predictor))
  return { name, files: all, ...(own && { predictor: own }) }
}

async function tabFile(name: string, source: ByteSource): Promise<TabFile> {
  return { name, bytes: source.size, sha256: await hashFile(source.name), source }
}
