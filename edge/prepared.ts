/** Loads an engine from the output of `deploy-prep` in any store. */
import {
  type ByteSource,
  Engine,
  type EngineOptions,
  ForetokenError,
  sha256Hex,
  type WasmModules,
} from '../src/index.ts'
import { type Manifest, manifestFile, maxManifest, readManifest } from './manifest.ts'
import { shardSource } from './shards.ts'
import type { ShardStore } from './stores.ts'

export interface PreparedOptions {
  readonly wasm: WasmModules
  /** Loads the grammar engine, for weights that were prepared with room for it. */
  readonly guides?: EngineOptions['guides']
  /**
   * SHA-256 that the manifest must have, in hex; with it the store need not be trusted. Default:
   * any.
   */
  readonly manifestSha256?: string | undefined
}

/**
 * Streams the weights in and checks every chunk before it is used. Rejects with `not_found`, `io`,
 * `checksum`, `bad_model`, and what `Engine.load` rejects with.
 */
export async function loadPrepared(store: ShardStore, options: PreparedOptions): Promise<Engine> {
  const manifest = await fetchManifest(store, options.manifestSha256)
  const { model, settings, weights, predictor, chunks = [] } = manifest
  const source = shardSource(model, store, weights)
  const predictorSource = predictor && shardSource(`${model} predictor`, store, predictor)
  const files = { name: model, files: ['weights.foretoken'], open: async (): Promise<ByteSource> => source }
  const { context, kvTokens, kv, passTokens, streams, guides, chunkBytes = 0 } = settings
  let engine: Engine
  try {
    engine = await Engine.load(files, {
      wasm: options.wasm,
      context,
      kvTokens,
      kv,
      passTokens,
      // Memory was planned for the chunks of files only.
      chunkBytes,
      schedule: { maxRunning: streams, maxWaiting: 4 * streams },
      ...(predictorSource && { predictor: predictorSource }),
      // Without room for it the grammar engine might end the isolate.
      ...(guides && options.guides && { guides: options.guides }),
    })
  } finally {
    await source.close()
    await predictorSource?.close()
  }
  for (const [index, split] of chunks.entries()) {
    const saved = shardSource(`${model} chunks ${index}`, store, split)
    try {
      await engine.loadChunks(saved)
    } catch (error) {
      await engine.close()
      throw error
    } finally {
      await saved.close()
    }
  }
  return engine
}

/**
 * Reads the manifest and, if `sha256` is set, checks its hash. Rejects with `not_found`, `io`,
 * `checksum` or `bad_model`.
 */
export async function fetchManifest(store: ShardStore, sha256?: string): Promise<Manifest> {
  const bytes = await readWhole(await store.open(manifestFile, 0), maxManifest)
  if (sha256 && (await sha256Hex(bytes)) !== sha256.toLowerCase())
    throw new ForetokenError(
      'checksum',
      `${manifestFile} does not have the SHA-256 ${sha256} that this Worker expects; deploy both from one run of deploy-prep`,
    )
  return readManifest(new TextDecoder().decode(bytes))
}

async function readWhole(stream: ReadableStream<Uint8Array>, limit: number): Promise<Uint8Array<ArrayBuffer>> {
  const reader = stream.getReader()
  let all = new Uint8Array(0)
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return all
    if (all.length + value.length > limit) {
      await reader.cancel()
      throw new ForetokenError('bad_model', `${manifestFile} has more than ${limit} bytes`)
    }
    const longer = new Uint8Array(all.length + value.length)
    longer.set(all)
    longer.set(value, all.length)
    all = longer
  }
}
