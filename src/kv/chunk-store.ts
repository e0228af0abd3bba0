/**
 * Keeps the K and V of chunks, such as retrieved documents, for prompts that have them at other
 * places and in another order, where a prefix cache finds none.
 *
 * A chunk is computed alone, behind the model's usual first tokens (its sinks). So what is kept
 * depends on its own tokens only, and not on what else the prompt said that brought it. K and V are kept
 * before the norm and the rotation of K, as binary16: rotated pages would be rounded a second time
 * (docs/decisions/055-chunks-that-come-again.md).
 *
 * Each tenant has its own chunks, found by comparing tokens rather than a hash of them. Half of the
 * budget is divided evenly among the tenants, as in the prefix cache. Chunks of files stay until they
 * are released, and what they take of the budget is not divided.
 */
import { at, defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import { fromHalves, toHalves } from '../base/half.ts'
import type { KvReader, PlacedKv } from '../base/pass.ts'
import { textOfIds } from './id-text.ts'

/** A chunk of files. */
interface Pinned {
  readonly kv: KeptKv
  /** How many files have it. */
  holders: number
}

interface Kept {
  readonly tenant: string
  readonly key: string
  readonly kv: KeptKv
}

/** The chunks of one engine. */
export class ChunkStore {
  /** Maximum number of bytes that are kept. */
  readonly maxBytes: number
  /** Values of K and V together that a layer has for a token, (layers). */
  readonly #widths: readonly number[]
  readonly #tenants = new Map<string, { readonly chunks: Map<string, Kept>; bytes: number }>()
  /** All chunks, least recently used first. */
  readonly #used = new Set<Kept>()
  /** Chunks of files, by tenant; those of undefined are for all. */
  readonly #pinned = new Map<string | undefined, Map<string, Pinned>>()
  #pinnedBytes = 0
  /** Holds what was read last, for all chunks. */
  readonly #floats = new Floats()
  #bytes = 0

  constructor(maxBytes: number, widths: readonly number[]) {
    this.maxBytes = maxBytes
    this.#widths = widths
  }

  /** Number of bytes that are kept. */
  get bytes(): number {
    return this.#bytes
  }

  /** Bytes that chunks of prompts may take: those that chunks of files leave. */
  get room(): number {
    return this.maxBytes - this.#pinnedBytes
  }

  /** Number of chunks. */
  get size(): number {
    let pinned = 0
    for (const { size } of this.#pinned.values()) pinned += size
    return this.#used.size + pinned
  }

  /** Returns the number of bytes that a chunk of `tokens` takes. */
  bytesOf(tokens: number): number {
    return 2 * tokens * this.#widths.reduce((sum, width) => sum + width, 0)
  }

  /** Returns whether a chunk is kept, without marking it as used. */
  has(tenant: string, ids: readonly number[]): boolean {
    return this.#find(tenant, ids) !== undefined || this.#findPinned(tenant, ids) !== undefined
  }

  /** Returns the K and V of a chunk, without its sinks; undefined if it is not kept. */
  get(tenant: string, ids: readonly number[]): PlacedKv | undefined {
    const kept = this.#find(tenant, ids)
    if (!kept) return this.#findPinned(tenant, ids)
    this.#used.delete(kept)
    this.#used.add(kept)
    return kept.kv
  }

  /** Returns what takes the K and V of a chunk, while `sinks` and then `tokens` are computed. */
  reader(sinks: number, tokens: number): ChunkReader {
    return new ChunkReader(this.#widths, sinks, tokens)
  }

  /**
   * Keeps what a reader has taken, once all of it has arrived, and drops what is beyond the budget.
   * Resolves with false for a chunk that is larger than the budget, or that has values that are too
   * large for binary16. Rejects if reading failed.
   */
  async keep(tenant: string, ids: readonly number[], reader: ChunkReader): Promise<boolean> {
    const layers = await reader.finished()
    const bytes = this.bytesOf(ids.length)
    if (!layers || bytes > this.room) return false
    const before = this.#find(tenant, ids)
    if (before) this.#drop(before)
    const kept = { tenant, key: textOfIds(ids), kv: new KeptKv(layers, this.#widths, bytes, this.#floats) }
    const owner = this.#tenants.get(tenant) ?? { chunks: new Map<string, Kept>(), bytes: 0 }
    this.#tenants.set(tenant, owner)
    owner.chunks.set(kept.key, kept)
    owner.bytes += bytes
    this.#bytes += bytes
    this.#used.add(kept)
    this.#trim(kept)
    return true
  }

  /** Throws `out_of_memory` if chunks of files that take `bytes` do not fit. */
  requireRoom(bytes: number): void {
    if (bytes <= this.room) return
    throw new ForetokenError(
      'out_of_memory',
      `the chunks take ${bytes} bytes, and ${this.room} of ${this.maxBytes} are free; load the engine with chunkBytes of ${bytes + this.#pinnedBytes} or more`,
    )
  }

  /**
   * Keeps a chunk of a file, for one tenant or for all, until the function is called that this returns;
   * chunks of prompts make room. Throws as `requireRoom`.
   */
  pin(tenant: string | undefined, ids: readonly number[], layers: readonly Uint16Array[]): () => void {
    const key = textOfIds(ids)
    const chunks = this.#pinned.get(tenant) ?? new Map<string, Pinned>()
    let pinned = chunks.get(key)
    if (!pinned) {
      const bytes = this.bytesOf(ids.length)
      this.requireRoom(bytes)
      pinned = { kv: new KeptKv(layers, this.#widths, bytes, this.#floats), holders: 0 }
      chunks.set(key, pinned)
      this.#pinned.set(tenant, chunks)
      this.#pinnedBytes += bytes
      this.#bytes += bytes
      this.#trim()
    }
    const held = pinned
    held.holders++
    let released = false
    return () => {
      if (released) return
      released = true
      held.holders--
      if (held.holders > 0 || chunks.get(key) !== held) return
      chunks.delete(key)
      if (chunks.size === 0) this.#pinned.delete(tenant)
      this.#pinnedBytes -= held.kv.bytes
      this.#bytes -= held.kv.bytes
    }
  }

  clear(): void {
    this.#used.clear()
    this.#tenants.clear()
    for (const chunks of this.#pinned.values()) chunks.clear()
    this.#pinned.clear()
    this.#pinnedBytes = 0
    this.#bytes = 0
  }

  #find(tenant: string, ids: readonly number[]): Kept | undefined {
    return this.#tenants.get(tenant)?.chunks.get(textOfIds(ids))
  }

  #findPinned(tenant: string, ids: readonly number[]): KeptKv | undefined {
    if (this.#pinned.size === 0) return undefined
    const key = textOfIds(ids)
    return (this.#pinned.get(tenant)?.get(key) ?? this.#pinned.get(undefined)?.get(key))?.kv
  }

  /** Drops chunks of tenants beyond their part first, least recently used first, but not `newest`. */
  #trim(newest?: Kept): void {
    for (const guarded of [true, false])
      for (const kept of this.#used) {
        if (this.#bytes <= this.maxBytes) return
        const part = this.room / 2 / this.#tenants.size
        if (kept === newest || (guarded && defined(this.#tenants.get(kept.tenant)).bytes <= part)) continue
        this.#drop(kept)
      }
  }

  #drop(kept: Kept): void {
    const owner = defined(this.#tenants.get(kept.tenant))
    owner.chunks.delete(kept.key)
    owner.bytes -= kept.kv.bytes
    this.#bytes -= kept.kv.bytes
    this.#used.delete(kept)
    if (owner.chunks.size === 0) this.#tenants.delete(kept.tenant)
  }
}

/** Collects the K and V of one chunk. */
export class ChunkReader implements KvReader {
  readonly #widths: readonly number[]
  readonly #sinks: number
  readonly #tokens: number
  /** (layers) of (tokens, width), made when the first values arrive. */
  readonly #layers: Uint16Array[] = []
  readonly #coming: Promise<void>[] = []
  #fits = true

  constructor(widths: readonly number[], sinks: number, tokens: number) {
    this.#widths = widths
    this.#sinks = sinks
    this.#tokens = tokens
  }

  take(layer: number, position: number, values: Promise<Float32Array>): void {
    const taken = values.then((all) => {
      const width = at(this.#widths, layer)
      const skipped = Math.min(Math.max(0, this.#sinks - position), all.length / width)
      const own = all.subarray(skipped * width)
      this.#layers[layer] ??= new Uint16Array(this.#tokens * width)
      const into = this.#layers[layer].subarray((position + skipped - this.#sinks) * width)
      if (own.length > 0 && !toHalves(own, into)) this.#fits = false
    })
    // Whoever waits for all of them learns of a failure.
    taken.catch(() => {})
    this.#coming.push(taken)
  }

  /** Resolves with K and V, (layers) of (tokens, width); undefined if some values are too large. */
  async finished(): Promise<readonly Uint16Array[] | undefined> {
    await Promise.all(this.#coming)
    return this.#fits ? this.#layers : undefined
  }
}

/** Numbers that are valid until the next ones are needed. */
class Floats {
  #values = new Float32Array(0)

  of(length: number): Float32Array {
    if (this.#values.length < length) this.#values = new Float32Array(length)
    return this.#values.subarray(0, length)
  }
}

class KeptKv implements PlacedKv {
  readonly bytes: number
  readonly #layers: readonly Uint16Array[]
  readonly #widths: readonly number[]
  readonly #floats: Floats

  constructor(layers: readonly Uint16Array[], widths: readonly number[], bytes: number, floats: Floats) {
    this.#layers = layers
    this.#widths = widths
    this.bytes = bytes
    this.#floats = floats
  }

  read(layer: number, from: number, to: number): Float32Array {
    const width = at(this.#widths, layer)
    const halves = at(this.#layers, layer).subarray(from * width, to * width)
    const values = this.#floats.of(halves.length)
    fromHalves(halves, values)
    return values
  }
}
