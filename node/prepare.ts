/**
 * Writes the files of a model that a Worker needs: weights and predictor in shards, and a manifest.
 * `edge/prepared.ts` reads them.
 */

import { createHash } from 'node:crypto'
import { mkdir, open as openFile, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { type BudgetSettings, fitted, isolateLimit, type MemoryPlan } from '../edge/budget.ts'
import { chunkBytes, type Manifest, manifestFile, type Shard, type Split } from '../edge/manifest.ts'
import { loadPrepared } from '../edge/prepared.ts'
import type { ShardStore } from '../edge/stores.ts'
import { defined } from '../src/base/at.ts'
import {
  type ByteSource,
  Callback,
  Engine,
  type EngineOptions,
  ForetokenError,
  type ModelArchive,
  type ModelFiles,
  openModel,
  specOf,
  type WasmModules,
} from '../src/index.ts'
import { openChunks, reboundChunks } from '../src/kv/chunk-file.ts'
import { int8Warnings, keyBalances } from '../src/model/key-balance.ts'
import { identityOf } from '../src/model/load.ts'
import { type PreparedFile, preparedFile } from '../src/model/prepare.ts'
import { readPredictor, writePredictor } from '../src/predict/file.ts'
import { mergePairs } from '../src/tokens/merges.ts'
import { fileError } from './disk.ts'
import { sha256Of } from './hash.ts'
import { pathInside } from './paths.ts'
import { plannedTail, withTailInFourBits } from './vocabulary.ts'
import { loadWasm } from './wasm.ts'

export interface PrepareOptions {
  readonly predictor?: ByteSource | undefined
  /**
   * Rows of the vocabulary matrix that stay as they are; the others, of rarer tokens, are quantised
   * to 4 bits. Default: as many as fit, at least a sixth.
   */
  readonly eightBitRows?: number
  readonly context?: number
  /** Keys of the model's configuration to ignore; see `OpenOptions`. */
  readonly ignoreConfig?: readonly string[]
  readonly kv?: BudgetSettings['kv']
  readonly passTokens?: number
  readonly streams?: number
  /** Files of chunks to load with the weights, made by the same model. */
  readonly chunks?: readonly ByteSource[]
  /** Leaves memory for guides. Default false: a Worker refuses them. */
  readonly guides?: boolean
  /**
   * Maximum bytes of a shard, at least one chunk. Default 24 MiB, which fits static assets and KV.
   */
  readonly shardBytes?: number
  /** Bytes that the isolate may hold. */
  readonly limit?: number
  readonly onProgress?: (done: number, total: number) => void
  /** Called with the model's header before anything is written. What it throws ends the work. */
  readonly onOpen?: (archive: ModelArchive) => void
}

export interface Prepared {
  readonly files: readonly string[]
  readonly bytes: number
  readonly manifestSha256: string
  readonly settings: BudgetSettings
  readonly plan: MemoryPlan
  /** Describes what is unusual about the model, and about storing its K and V as requested. */
  readonly warnings: readonly string[]
}

const defaultShard = 24 << 20

/**
 * Writes into `folder`, which must be empty or absent; afterwards it is complete or absent. Throws
 * `out_of_memory` with the plan if the model does not fit, `unsupported`, `bad_argument`, `io`.
 */
export async function prepare(files: ModelFiles, folder: string, options: PrepareOptions = {}): Promise<Prepared> {
  const { ignoreConfig } = options
  const original = await openModel(files, { ignoreConfig })
  options.onOpen?.(original)
  const { context = 1024, kv = 'int8', passTokens = 32, streams = 4, guides, limit = isolateLimit } = options
  const { chunks: saved = [] } = options
  const shard = Math.floor((options.shardBytes ?? defaultShard) / chunkBytes) * chunkBytes
  if (!(shard >= chunkBytes)) throw new ForetokenError('bad_argument', `a shard has at least ${chunkBytes} bytes`)
  const wanted = {
    context: Math.min(context, original.config.maxContext),
    kv,
    passTokens,
    streams,
    ...(guides && { guides }),
    ...(saved.length > 0 && { chunkBytes: await bytesOfChunks(original, saved) }),
  }
  // A model that cannot fit is refused before the work of changing it.
  const predictorBytes = options.predictor?.size ?? 0
  const { rows, settings, plan } = chosen(original, options.eightBitRows, (model) =>
    fitted(original.name, { ...model, predictor: predictorBytes }, wanted, limit),
  )
  const wasm = await loadWasm()
  if (options.predictor) await checkPredictor(files, options.predictor, { wasm, ...(ignoreConfig && { ignoreConfig }) })
  const archive = rows === undefined ? original : await withTailInFourBits(original, rows, wasm)
  const onProgress = new Callback('onProgress', options.onProgress)
  const partial = `${folder}.${process.pid}.partial`
  try {
    await empty(folder)
    await mkdir(partial, { recursive: true })
    const file = preparedFile(archive, mergePairs(archive.tokenizer))
    const weights = await writeShards(partial, 'weights', counted(file, onProgress.call), shard)
    const base = { format: 'foretoken deploy', version: 1, model: archive.name, chunk: chunkBytes } as const
    const bare: Manifest = { ...base, weights, settings, plan: { ...plan } }
    await writeManifest(partial, bare)
    const identity = await loadedIdentity(partial, wasm)
    const predictor = options.predictor && (await writePredictorShards(partial, options.predictor, identity, shard))
    const chunks: Split[] = []
    for (const [index, source] of saved.entries())
      chunks.push(await writeShards(partial, `chunks-${index}`, reboundChunks(source, identity), shard))
    const manifest = { ...bare, ...(predictor && { predictor }), ...(chunks.length > 0 && { chunks }) }
    const manifestSha256 = await writeManifest(partial, manifest)
    if (predictor || chunks.length > 0) await loadedIdentity(partial, wasm)
    await onProgress.settle()
    await rename(partial, folder)
    const splits = [weights, ...(predictor ? [predictor] : []), ...chunks]
    const shards = splits.flatMap((split) => split.shards)
    const bytes = splits.reduce((sum, split) => sum + split.bytes, 0)
    const warnings = [
      ...original.warnings,
      ...(kv === 'int8' ? int8Warnings(original.name, await keyBalances(original)) : []),
    ]
    const names = [...shards.map(({ file }) => file), manifestFile]
    return { files: names, bytes, manifestSha256, settings, plan, warnings }
  } catch (error) {
    await rm(partial, { recursive: true, force: true })
    throw fileError(error, folder)
  }
}

/**
 * Shares of the vocabulary matrix that stay as they are, tried in this order. Their cost in NLL on
 * wikitext-2 (20,000 tokens, smollm2-135m) is .1, .3, .3 and .5 %; with all rows in 4 bits 2 %.
 */
const shares = [1, 1 / 2, 1 / 3, 1 / 4, 1 / 6]

type Fitted = ReturnType<typeof fitted>

/**
 * Chooses how many rows of the vocabulary stay (undefined for all), and the settings that fit then.
 * Throws what `planOf` throws for the last choice.
 */
function chosen(
  archive: ModelArchive,
  wanted: number | undefined,
  planOf: (model: Pick<ModelArchive, 'config' | 'tensors'>) => Fitted,
): Fitted & { readonly rows: number | undefined } {
  if (wanted !== undefined) return { rows: wanted, ...planOf(plannedTail(archive, wanted)) }
  const { config, tensors } = archive
  const { type } = defined(tensors.get('embed'))
  // A matrix that is in 4 bits already, or cannot be cut, stays whole.
  const cuts = config.tiedEmbedding && config.tailFrom === undefined && config.hidden % 32 === 0 && !/^q4/.test(type)
  let last: unknown
  for (const share of cuts ? shares : [1]) {
    const rows = share === 1 ? undefined : Math.floor((config.vocab * share) / 8) * 8
    if (rows !== undefined && rows < 8) break
    try {
      return { rows, ...planOf(plannedTail(archive, rows)) }
    } catch (error) {
      last = error
    }
  }
  throw last
}

async function* counted(
  file: PreparedFile,
  onProgress: (done: number, total: number) => void,
): AsyncGenerator<Uint8Array> {
  let done = 0
  for await (const piece of file.pieces()) {
    yield piece
    onProgress((done += piece.length), file.bytes)
  }
}

async function writeManifest(folder: string, manifest: Manifest): Promise<string> {
  const text = `${JSON.stringify(manifest, undefined, 1)}\n`
  await writeFile(join(folder, manifestFile), text)
  return sha256Of(text)
}

/**
 * Loads the written files as a Worker does, with every hash checked. Returns the identity of the
 * weights.
 */
async function loadedIdentity(folder: string, wasm: WasmModules): Promise<string> {
  const engine = await loadPrepared(folderStore(folder), { wasm })
  await engine.close()
  return engine.identity
}

/** Returns a folder that `prepare` wrote as a store. */
export function folderStore(folder: string): ShardStore {
  return {
    async open(file, start) {
      const path = pathInside(folder, file)
      const handle = await openFile(path).catch((error) => {
        throw fileError(error, path)
      })
      return Readable.toWeb(handle.createReadStream({ start })) as ReadableStream<Uint8Array>
    },
  }
}

async function empty(folder: string): Promise<void> {
  const found = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (found && found.length > 0)
    throw new ForetokenError('bad_argument', `${folder} has ${found.length} files; name an empty or a new folder`)
  if (found) await rm(folder, { recursive: true })
}

/** Cuts a stream of pieces into files `NAME-000.bin`, ... of at most `most` bytes. */
async function writeShards(
  folder: string,
  name: string,
  pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  most: number,
): Promise<Split> {
  const shards: Shard[] = []
  let writer: ShardWriter | undefined
  for await (const piece of pieces)
    for (let at = 0; at < piece.length; ) {
      writer ??= await ShardWriter.create(folder, `${name}-${String(shards.length).padStart(3, '0')}.bin`)
      const part = piece.subarray(at, at + Math.min(writer.roomInChunk, most - writer.bytes))
      await writer.write(part)
      at += part.length
      if (writer.bytes < most) continue
      shards.push(await writer.end())
      writer = undefined
    }
  if (writer) shards.push(await writer.end())
  return { bytes: shards.reduce((sum, { bytes }) => sum + bytes, 0), shards }
}

class ShardWriter {
  readonly #file: string
  readonly #handle: Awaited<ReturnType<typeof openFile>>
  readonly #whole = createHash('sha256')
  readonly #chunks: string[] = []
  #chunk = createHash('sha256')
  bytes = 0

  static async create(folder: string, file: string): Promise<ShardWriter> {
    return new ShardWriter(file, await openFile(pathInside(folder, file), 'wx'))
  }

  private constructor(file: string, handle: Awaited<ReturnType<typeof openFile>>) {
    this.#file = file
    this.#handle = handle
  }

  get roomInChunk(): number {
    return chunkBytes - (this.bytes % chunkBytes)
  }

  /** Writes at most `roomInChunk` bytes. */
  async write(part: Uint8Array): Promise<void> {
    await this.#handle.writeFile(part)
    this.#whole.update(part)
    this.#chunk.update(part)
    this.bytes += part.length
    if (this.bytes % chunkBytes === 0) this.#endChunk()
  }

  async end(): Promise<Shard> {
    await this.#handle.close()
    if (this.bytes % chunkBytes !== 0) this.#endChunk()
    return { file: this.#file, bytes: this.bytes, sha256: this.#whole.digest('hex'), chunks: this.#chunks }
  }

  #endChunk(): void {
    this.#chunks.push(this.#chunk.digest('hex'))
    this.#chunk = createHash('sha256')
  }
}

/** Throws `wrong_model` for a predictor of another model. */
async function checkPredictor(
  files: ModelFiles,
  predictor: ByteSource,
  options: Pick<EngineOptions, 'wasm' | 'ignoreConfig'>,
): Promise<void> {
  const engine = await Engine.load(files, { ...options, context: 16, passTokens: 1, predictor })
  await engine.close()
}

/** Returns the bytes of K and V in files of chunks. Rejects with what opening them rejects with, such as `wrong_model`. */
async function bytesOfChunks(archive: ModelArchive, files: readonly ByteSource[]): Promise<number> {
  const { layers, headDim } = specOf(archive.config)
  const widths = layers.map(({ kvHeads }) => 2 * kvHeads * headDim)
  const binding = { model: archive.name, fingerprint: await identityOf(archive), vocab: archive.config.vocab, widths }
  let bytes = 0
  for (const file of files) bytes += (await openChunks(file, binding)).bytes
  return bytes
}

/** Writes the predictor with the identity of the weights that were written. */
async function writePredictorShards(
  folder: string,
  source: ByteSource,
  identity: string,
  most: number,
): Promise<Split> {
  const file = await readPredictor(source)
  const bytes = await writePredictor({ ...file, header: { ...file.header, base: identity } })
  return writeShards(folder, 'predictor', [bytes], most)
}
