/**
 * Fuzzes the wire's reader with hostile streams: mutations of valid ones, with their checksums
 * repaired or not, and raw bytes. Any failure is one of our errors, the sequence is unchanged, no
 * other page is written, and nothing is allocated beyond the format's bounds.
 */

import { wireOf } from '../../src/backend/capabilities.ts'
import { createWasmBackend, type WasmOptions } from '../../src/backend/wasm/backend.ts'
import { joinBytes } from '../../src/base/bytes.ts'
import { ForetokenError } from '../../src/base/errors.ts'
import type { KvPool, KvType } from '../../src/base/kv.ts'
import { type WireCodec, wireCodecs } from '../../src/base/kv-codec.ts'
import { PagedCache } from '../../src/kv/paged.ts'
import type { Sequence } from '../../src/kv/sequence.ts'
import { crc32 } from '../../src/transfer/crc32.ts'
import { mostTableBytes, mostTileBytes, type WireBinding } from '../../src/transfer/format.ts'
import { receiveKv } from '../../src/transfer/receive-kv.ts'
import { encodeSteps } from '../../src/transfer/residual.ts'
import { writeWire } from '../../src/transfer/wire.ts'
import { type Random, random } from '../helpers/random.ts'
import { cut } from '../helpers/wire.ts'

const shape = { layers: 3, kvHeads: 2, headDim: 16 }
const to = 53
const promptTokens = 60
const ids = Array.from({ length: promptTokens }, (_, at) => (at * 31) % 97)

/** Error codes with which hostile streams may end. */
const allowed = ['bad_kv', 'bad_mac', 'checksum', 'wrong_model']
/** Maximum size of one array, in bytes: a tile, or a head. */
export const mostAllocated = Math.max(mostTileBytes + 24, 256 + mostTableBytes)

export const fuzzBinding: WireBinding = {
  identity: {
    name: 'fuzzed',
    model: '1a'.repeat(32),
    tokenizer: '2b'.repeat(32),
    rope: '3c'.repeat(32),
    predictor: '4d'.repeat(32),
  },
  shape,
  ids,
  key: new Uint8Array(32).fill(5),
}

export interface WireWorld {
  /** Pieces of a valid stream of each codec. */
  readonly valid: Readonly<Record<WireCodec, readonly Uint8Array[]>>
  /**
   * Reads a stream into pages in `kv`; resolves with the code of its error, or `read`. Throws on a
   * violation.
   */
  read(body: AsyncIterable<Uint8Array>, kv: KvType): Promise<string>
  close(): Promise<void>
}

export async function wireWorld(modules: WasmOptions['modules']): Promise<WireWorld> {
  const backend = await createWasmBackend({ modules })
  backend.prepare({ tokens: 16, maxK: 64, headDim: shape.headDim, groups: [1] })
  const rng = random(17)
  const places = {} as Record<KvType, Place>
  for (const type of ['f32', 'f16', 'int8'] as const) places[type] = await placeOf(backend, type, rng)
  const valid = {} as Record<WireCodec, readonly Uint8Array[]>
  const { pool, exact, predicted } = places.f32
  for (const codec of wireCodecs) {
    const residual = codec === 'residual'
    const table = residual
      ? encodeSteps({ pairs: 'half', steps: new Float32Array(2 * 2 * 9).fill(0.2) })
      : new Uint8Array(0)
    const range = { codec, from: 0, to, firstLayer: residual ? 1 : 0, tileTokens: 32, tileLayers: 2, table }
    const pieces: Uint8Array[] = []
    const most = { promptTokens: residual ? promptTokens : to, mostBytes: 1 << 16 }
    for await (const piece of writeWire(fuzzBinding, { ...range, ...most }, (tile) => {
      const steps = new Float32Array((tile.layers.to - tile.layers.from) * 2 * 17).fill(0.2)
      const coding = residual ? { codec, base: predicted.pages, steps } : { codec }
      return wireOf(backend).encodeKv(pool, { ...tile, pages: exact.pages }, coding)
    }))
      pieces.push(piece)
    valid[codec] = pieces
  }

  async function read(body: AsyncIterable<Uint8Array>, kv: KvType): Promise<string> {
    const { cache, pool, predicted, others } = places[kv]
    const sequence = cache.open()
    const before = await Promise.all(others.map((page) => pool.readPage(page)))
    const from = {
      codec: wireOf(backend),
      cache,
      sequence,
      identity: fuzzBinding.identity,
      ids,
      to,
      key: fuzzBinding.key,
    }
    let code = 'read'
    try {
      await receiveKv(body, { ...from, predicted: { sequence: predicted, ready: async () => {} } })
    } catch (error) {
      if (!(error instanceof ForetokenError) || !allowed.includes(error.code)) throw error
      code = error.code
    }
    if (sequence.length !== (code === 'read' ? to : 0))
      throw new Error(`${code}, and ${sequence.length} tokens are left`)
    sequence.release()
    for (const [at, page] of others.entries())
      if (Buffer.compare(await pool.readPage(page), before[at]!) !== 0) throw new Error(`page ${page} was written`)
    return code
  }
  return { valid, read, close: () => backend.close() }
}

interface Place {
  readonly pool: KvPool
  readonly cache: PagedCache
  readonly exact: Sequence
  readonly predicted: Sequence
  /** Pages of the other sequences, which must not be written. */
  readonly others: readonly number[]
}

async function placeOf(
  backend: Awaited<ReturnType<typeof createWasmBackend>>,
  type: KvType,
  rng: Random,
): Promise<Place> {
  const pool = backend.kvPool({ type, ...shape })
  const cache = new PagedCache(pool, 16)
  const [exact, predicted] = [cache.open(), cache.open()]
  for (const sequence of [exact, predicted]) {
    sequence.extend(promptTokens, 0)
    const block = { layers: { from: 0, to: shape.layers }, from: 0, to: promptTokens, pages: sequence.pages }
    const values = rng.floats(promptTokens * shape.layers * 2 * shape.kvHeads * shape.headDim)
    await wireOf(backend).decodeKv(pool, block, { codec: 'f32' }, new Uint8Array(values.buffer))
  }
  return { pool, cache, exact, predicted, others: [...exact.pages, ...predicted.pages] }
}

/** Returns a hostile stream, or occasionally a valid one, and whether it is valid. */
export function hostileStream(valid: WireWorld['valid'], rng: Random): { bytes: Uint8Array; sound: boolean } {
  if (rng.below(12) === 0) return { bytes: rng.bytes(rng.below(700)), sound: false }
  const pieces = valid[wireCodecs[rng.below(wireCodecs.length)]!].map((piece) => piece.slice())
  const original = joinBytes(pieces)
  for (let count = rng.below(4); count > 0; count--) mutate(pieces, rng)
  const bytes = joinBytes(pieces)
  const some = rng.below(8) === 0 ? bytes.subarray(0, rng.below(bytes.length + 1)) : bytes
  return { bytes: some, sound: Buffer.compare(some, original) === 0 }
}

function mutate(pieces: Uint8Array[], rng: Random): void {
  const at = rng.below(pieces.length)
  const piece = pieces[at]!
  const kind = rng.below(6)
  if (kind === 0) pieces.splice(at, 1)
  else if (kind === 1) pieces.splice(rng.below(pieces.length), 0, piece.slice())
  else if (kind === 2) pieces.push(...pieces.splice(at, 1))
  else if (kind === 3) pieces[at] = piece.slice(0, rng.below(piece.length + 1))
  if (pieces.length === 0) return
  const changed = pieces[Math.min(at, pieces.length - 1)]!
  for (let bytes = rng.below(4); bytes > 0 && changed.length > 0; bytes--) {
    // Mutations favour the fields of a head.
    const where = rng.below(2) === 0 ? rng.below(Math.min(64, changed.length)) : rng.below(changed.length)
    changed[where] = rng.below(2) === 0 ? rng.below(256) : [0, 1, 127, 128, 255][rng.below(5)]!
  }
  if (rng.below(4) > 0) repair(changed)
}

/** Repairs the CRC of a head or a tile, so that the reader checks what follows. */
function repair(piece: Uint8Array): void {
  const view = new DataView(piece.buffer, piece.byteOffset, piece.byteLength)
  if (piece.length >= 256 && view.getUint32(0, true) === 0x564b5446) {
    view.setUint32(60, 0, true)
    view.setUint32(60, crc32(piece), true)
  } else if (piece.length > 32) {
    view.setUint32(20, crc32(piece.subarray(24), crc32(piece.subarray(0, 20))), true)
  }
}

export interface FuzzReport {
  readonly inputs: number
  readonly codes: Readonly<Record<string, number>>
  readonly most_allocated: number
}

/**
 * Reads hostile streams until `inputs` are done, or `ms` have passed. Throws with the seed on a
 * violation.
 */
export async function fuzzWire(world: WireWorld, inputs: number, ms: number, seed: number): Promise<FuzzReport> {
  const rng = random(seed)
  const codes: Record<string, number> = {}
  const watch = watchAllocations()
  const end = performance.now() + ms
  let done = 0
  try {
    for (; done < inputs && performance.now() < end; done++) {
      const { bytes, sound } = hostileStream(world.valid, rng)
      const places = Array.from({ length: rng.below(6) }, () => rng.below(bytes.length + 1))
      const kv = (['f32', 'f16', 'int8'] as const)[rng.below(3)]!
      const code = await world.read(cut(bytes, places), kv).catch((cause) => {
        throw new Error(`seed ${seed}, input ${done}: ${cause.message}`, { cause })
      })
      if ((code === 'read') !== sound) throw new Error(`seed ${seed}, input ${done}: ${code}, and it is ${sound}`)
      if (watch.most > mostAllocated) throw new Error(`seed ${seed}, input ${done}: an array of ${watch.most} bytes`)
      codes[code] = (codes[code] ?? 0) + 1
    }
  } finally {
    watch.stop()
  }
  return { inputs: done, codes, most_allocated: watch.most }
}

/** Records the length of the longest byte array allocated. */
function watchAllocations() {
  const original = globalThis.Uint8Array
  const watch = {
    most: 0,
    stop: () => {
      globalThis.Uint8Array = original
    },
  }
  globalThis.Uint8Array = new Proxy(original, {
    construct(target, given, as) {
      if (typeof given[0] === 'number') watch.most = Math.max(watch.most, given[0])
      return Reflect.construct(target, given, as === globalThis.Uint8Array ? target : as)
    },
  })
  return watch
}
