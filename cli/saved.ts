/** Files of `foretoken prefix save`: the K and V of a prompt's beginning, or of chunks. */
import { type ByteSource, type Engine, fileError, fileSource, memorySource } from '../node/index.ts'

export interface SavedFile {
  readonly path: string
  readonly source: ByteSource
  readonly kind: 'prefix' | 'chunks' | 'other'
  close(): Promise<void>
}

/** Opens such a file, or stdin for `-`. What it holds is checked where it is loaded. Throws `not_found`, `io`. */
export async function openSaved(path: string): Promise<SavedFile> {
  if (path === '-') return savedIn(path, memorySource('stdin', await readStdin()), async () => {})
  const source = await fileSource(path)
  try {
    return await savedIn(path, source, () => source.close())
  } catch (error) {
    await source.close()
    throw error
  }
}

async function savedIn(path: string, source: ByteSource, close: () => Promise<void>): Promise<SavedFile> {
  const begin = new Uint8Array(Math.min(8, source.size))
  await source.read(0, begin)
  const kind = kinds[new TextDecoder().decode(begin)] ?? 'other'
  return { path, source, kind, close }
}

const kinds: Readonly<Record<string, SavedFile['kind']>> = { FTPREFIX: 'prefix', FTCHUNKS: 'chunks' }

/** Returns a file that is yet to be written. */
export function savedBytes(path: string, bytes: Uint8Array, kind: SavedFile['kind']): SavedFile {
  return { path, kind, source: memorySource(path, bytes), close: async () => {} }
}

/** Returns why a command that takes chunks only refuses a file. */
export function notChunks(command: string, path: string, kind: SavedFile['kind']): string {
  const what = kind === 'prefix' ? 'is the beginning of a prompt' : 'is not one'
  return `${command} takes files of \`foretoken prefix save --chunks\`, and ${path} ${what}`
}

/** Returns bytes for the chunks of files, and as many as usual for those of prompts; undefined without any. */
export function chunkBytesFor(files: readonly SavedFile[]): number | undefined {
  const chunks = files.filter(({ kind }) => kind === 'chunks')
  return chunks.length === 0 ? undefined : chunks.reduce((sum, { source }) => sum + source.size, 256 << 20)
}

/** Loads a file into an engine. Resolves with the number of its tokens, and of its chunks. */
export async function loadSaved(engine: Engine, file: SavedFile): Promise<{ tokens: number; chunks?: number }> {
  if (file.kind === 'chunks') {
    const { tokens, chunks } = await engine.loadChunks(file.source)
    return { tokens, chunks }
  }
  const bytes = new Uint8Array(file.source.size)
  await file.source.read(0, bytes)
  const { tokens } = await engine.loadPrefix(bytes)
  return { tokens }
}

async function readStdin(): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  try {
    for await (const piece of process.stdin) pieces.push(piece)
  } catch (error) {
    throw fileError(error, 'stdin')
  }
  return new Uint8Array(Buffer.concat(pieces))
}
