/** The page that `foretoken serve` shows: its built files, or, in a source checkout, files that are built now; and the model for a tab. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { ByteSource } from '../src/index.ts'
import { fileSource } from './file-source.ts'
import { modelFiles } from './pull.ts'

const source = import.meta.url.endsWith('.ts')
const folder = new URL('./web/', import.meta.url)

/** A file of the page, by its path; undefined where there is none. */
export async function pageFile(path: string): Promise<Uint8Array | undefined> {
  if (!/^(index\.html|sw\.js|page\/[\w.-]+)$/.test(path)) return undefined
  if (!source) return readFile(new URL(path, folder)).catch(() => undefined)
  built ??= build()
  return (await built).get(path)
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
  const all = await Promise.all(files.map(async (file) => tabFile(file, await open(file))))
  const own = predictor === undefined ? undefined : await tabFile('predictor.safetensors', await fileSource(predictor))
  return { name, files: all, ...(own && { predictor: own }) }
}

async function tabFile(name: string, source: ByteSource): Promise<TabFile> {
  return { name, bytes: source.size, sha256: await hashOf(source.name), source }
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(piece)
  return hash.digest('hex')
}
