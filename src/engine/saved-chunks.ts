/** Saves the K and V of chunks as a file, and loads them for prompts of later engines. */
import type { ByteSource } from '../base/bytes.ts'
import { ForetokenError } from '../base/errors.ts'
import { isWorthKeeping } from '../decode/placing.ts'
import type { Scheduler } from '../decode/scheduler.ts'
import { type ChunkBinding, encodeChunks, openChunks, type SavedChunk } from '../kv/chunk-file.ts'
import type { ChunkStore } from '../kv/chunk-store.ts'

/** Chunks of a file. They are not evicted before they are released. */
export interface LoadedChunks {
  /** Number of chunks, and of their tokens. */
  readonly chunks: number
  readonly tokens: number
  /** Bytes of `chunkBytes` that they take. */
  readonly bytes: number
  /** Drops them. May be called twice. */
  release(): void
}

export interface LoadChunksOptions {
  /** The tenant whose prompts may use the chunks. Default: all. */
  readonly tenant?: string | undefined
}

/** The parts of an engine that save and load chunks. */
export interface ChunkParts {
  readonly store: ChunkStore
  readonly scheduler: Pick<Scheduler, 'add' | 'drive'>
  readonly binding: ChunkBinding
  /** Returns the tokens that chunks are computed behind. */
  readonly sinks: () => readonly number[]
  readonly context: number
}

/**
 * Computes chunks alone, one after the other, among all requests, and resolves with them as a file.
 * Rejects with `bad_argument` for a chunk that is too short, `context_exceeded`, and what the
 * scheduler rejects with.
 */
export async function saveChunks(
  parts: ChunkParts,
  chunks: readonly (readonly number[])[],
): Promise<Uint8Array<ArrayBuffer>> {
  const { context } = parts
  const sinks = parts.sinks()
  for (const [index, ids] of chunks.entries()) {
    if (!isWorthKeeping({ ids }))
      throw new ForetokenError('bad_argument', `chunk ${index} has ${ids.length} tokens; give texts of 24 or more`)
    if (sinks.length + ids.length > context)
      throw new ForetokenError(
        'context_exceeded',
        `chunk ${index} has ${ids.length} tokens, and ${context - sinks.length} fit; cut it, or load the engine with more context`,
      )
  }
  const saved: SavedChunk[] = []
  for (const [index, ids] of chunks.entries()) saved.push({ ids, layers: await computed(parts, index, sinks, ids) })
  return encodeChunks(saved, parts.binding)
}

async function computed(
  { store, scheduler }: ChunkParts,
  index: number,
  sinks: readonly number[],
  ids: readonly number[],
) {
  const reader = store.reader(sinks.length, ids.length)
  let ended: { readonly error: ForetokenError | undefined } | undefined
  scheduler.add({
    ids: [...sinks, ...ids],
    tenant: '',
    kv: reader,
    bulk: 'last',
    chooseTokens: () => undefined,
    end: (error) => {
      ended = { error }
    },
  })
  await scheduler.drive(() => ended !== undefined)
  if (ended?.error) throw ended.error
  const layers = await reader.finished()
  if (layers) return layers
  throw new ForetokenError('unsupported', `K and V of chunk ${index} are too large for 16 bits; leave it out`)
}

/**
 * Keeps the chunks of a file until they are released, for one tenant or for all. Rejects with what
 * `openChunks` rejects with, and `out_of_memory` for more than fit in `chunkBytes`; nothing is kept
 * then.
 */
export async function loadChunks(
  { store, binding }: ChunkParts,
  source: ByteSource,
  tenant: string | undefined,
): Promise<LoadedChunks> {
  const file = await openChunks(source, binding)
  store.requireRoom(file.bytes)
  const releases: (() => void)[] = []
  const release = () => {
    for (const drop of releases.splice(0)) drop()
  }
  try {
    for (const index of file.chunks.keys()) {
      const { ids, layers } = await file.read(index)
      releases.push(store.pin(tenant, ids, layers))
    }
  } catch (error) {
    release()
    throw error
  }
  const tokens = file.chunks.reduce((sum, { ids }) => sum + ids.length, 0)
  return { chunks: file.chunks.length, tokens, bytes: file.bytes, release }
}
