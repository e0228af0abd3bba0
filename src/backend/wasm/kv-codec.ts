/**
 * Encodes blocks of KV pages for the wire, and decodes them, in the Rust core. transfer/wire.ts
 * describes the formats.
 */
import { defined } from '../../base/at.ts'
import { ForetokenError } from '../../base/errors.ts'
import { type KvPool, pageTokens } from '../../base/kv.ts'
import type { KvBlock, KvCodec, KvCoding, WireCodec } from '../../base/kv-codec.ts'
import { type Kernels, kvTypeIds } from './abi.ts'
import type { Arena } from './arena.ts'
import type { WasmKvPool } from './kv-pool.ts'

/** ABI numbers of the codecs whose output has a fixed size. */
const codecIds: Partial<Record<WireCodec, number>> = { f32: 0, f16: 1, int8: 2, int4: 3 }

/** Bytes that a value takes in the worst case, with steps that are far too fine. */
const residualBytes = 6

/** Bytes that are encoded or decoded at once; more only if a single unit is larger. */
const stagingBytes = 1 << 18

/** Memory for bytes on their way in or out; valid until the next call of any method. */
interface Stage {
  readonly at: number
  readonly bytes: number
}

export class WasmKvCodec implements KvCodec {
  readonly #kernels: Kernels
  readonly #arena: Arena
  readonly #list: (values: readonly number[]) => number
  #staging: Stage | undefined
  /** Address of the staged bytes, during `#each`. */
  #staged = 0

  /** `list` uploads page ids and returns their address. */
  constructor(kernels: Kernels, arena: Arena, list: (values: readonly number[]) => number) {
    this.#kernels = kernels
    this.#arena = arena
    this.#list = list
  }

  kvBytes(pool: KvPool, layers: KvBlock['layers'], tokens: number, codec: WireCodec): number {
    return this.#bytes(pool as WasmKvPool, layers, tokens, codec)
  }

  async encodeKv(pool: KvPool, block: KvBlock, coding: KvCoding): Promise<Uint8Array<ArrayBuffer>> {
    const kv = pool as WasmKvPool
    check(kv, block)
    if (coding.codec === 'residual') return this.#encodeResidual(kv, block, coding)
    const bytes = new Uint8Array(this.#bytes(kv, block.layers, block.to - block.from, coding.codec))
    this.#each(kv, block, coding.codec, (run, at, length) => {
      run(this.#kernels.wire_encode)
      bytes.set(this.#arena.bytes.subarray(this.#staged, this.#staged + length), at)
    })
    return bytes
  }

  async decodeKv(pool: KvPool, block: KvBlock, coding: KvCoding, bytes: Uint8Array): Promise<void> {
    const kv = pool as WasmKvPool
    check(kv, block)
    if (coding.codec === 'residual') this.#decodeResidual(kv, block, coding, bytes)
    else this.#decodeFixed(kv, block, coding, bytes)
  }

  #bytes(pool: WasmKvPool, layers: KvBlock['layers'], tokens: number, codec: WireCodec): number {
    let bytes = codec === 'residual' ? 64 : 0
    for (let layer = layers.from; layer < layers.to; layer++) {
      const own = codecOf(pool, layer, codec)
      const head =
        own === 'residual'
          ? 2 * pool.headDim * tokens * residualBytes
          : this.#unitBytes(pool, own, tokens, 0) + this.#unitBytes(pool, own, tokens, 1)
      bytes += pool.heads(layer) * head
    }
    return bytes
  }

  #decodeFixed(pool: WasmKvPool, block: KvBlock, coding: KvCoding, bytes: Uint8Array): void {
    const expected = this.#bytes(pool, block.layers, block.to - block.from, coding.codec)
    if (bytes.length !== expected)
      throw new ForetokenError('bad_kv', `a block of K and V has ${bytes.length} bytes, not ${expected}`)
    this.#each(pool, block, coding.codec, (run, at, length) => {
      this.#arena.bytes.set(bytes.subarray(at, at + length), this.#staged)
      run(this.#kernels.wire_decode)
    })
  }

  #encodeResidual(pool: WasmKvPool, block: KvBlock, { base, steps }: KvCoding): Uint8Array<ArrayBuffer> {
    if (!base || !steps) throw new ForetokenError('internal', 'a residual needs a prediction, and steps')
    check(pool, { ...block, pages: base })
    const { wire_encode_residual } = this.#kernels
    const most = this.#bytes(pool, block.layers, block.to - block.from, 'residual')
    for (let room = Math.floor(most / 8); ; room = most) {
      const place = this.#place(pool, block, steps, [base], room)
      const bytes = wire_encode_residual(
        place.bytes,
        room,
        ...place.pool,
        ...place.lists,
        block.to - block.from,
        place.steps,
      )
      if (bytes <= room) return this.#arena.bytes.slice(place.bytes, place.bytes + bytes) as Uint8Array<ArrayBuffer>
      if (room === most) throw new ForetokenError('internal', `a residual takes ${bytes} bytes, more than ${most}`)
    }
  }

  #decodeResidual(pool: WasmKvPool, block: KvBlock, { steps }: KvCoding, bytes: Uint8Array): void {
    if (!steps) throw new ForetokenError('internal', 'a residual needs steps')
    const place = this.#place(pool, block, steps, [], bytes.length)
    this.#arena.bytes.set(bytes, place.bytes)
    const { wire_decode_residual } = this.#kernels
    const tokens = block.to - block.from
    const status = wire_decode_residual(place.bytes, bytes.length, ...place.pool, place.lists[0], tokens, place.steps)
    if (status !== 0) throw new ForetokenError('bad_kv', `${bytes.length} bytes are not a block of residuals`)
  }

  /** Uploads steps and page lists, and makes room for `room` bytes. */
  #place(
    pool: WasmKvPool,
    { layers, from, to, pages }: KvBlock,
    steps: Float32Array,
    bases: readonly (readonly number[])[],
    room: number,
  ) {
    const { type, headDim, pageUnit, kvHeads } = pool
    const count = layers.to - layers.from
    if (steps.length !== count * kvHeads * (headDim + 1))
      throw new ForetokenError('internal', `${steps.length} steps do not fit ${count} layers of ${kvHeads} heads`)
    const stepBytes = Math.ceil(steps.length / 16) * 64
    const stage = this.#stage(stepBytes + room)
    this.#arena.floats.set(steps, stage.at / 4)
    const lists = [pages, ...bases].flatMap((list) => list.slice(from / pageTokens, Math.ceil(to / pageTokens)))
    const at = this.#list(lists)
    return {
      steps: stage.at,
      bytes: stage.at + stepBytes,
      pool: [kvTypeIds[type], pool.layer(layers.from), pageUnit, count, kvHeads, headDim] as const,
      lists: [pages, ...bases].map((_, i) => at + 4 * i * Math.ceil((to - from) / pageTokens)) as [number, number],
    }
  }

  /**
   * Calls `one` for each run of units that fits the stage: bytes `at`..`at + length` - 1 of the
   * block.
   */
  #each(
    pool: WasmKvPool,
    { layers, from, to, pages }: KvBlock,
    codec: WireCodec,
    one: (run: (kernel: Kernels['wire_encode']) => void, at: number, length: number) => void,
  ): void {
    const list = this.#list(pages.slice(from / pageTokens, Math.ceil(to / pageTokens)))
    let at = 0
    for (let layer = layers.from; layer < layers.to; layer++) {
      const units = 2 * pool.heads(layer)
      const own = codecOf(pool, layer, codec)
      const sizes = [0, 1].map((part) => this.#unitBytes(pool, own, to - from, part))
      for (let first = 0; first < units; ) {
        const stage = this.#stage(defined(sizes[first % 2]))
        let [count, length] = [0, 0]
        for (; first + count < units; count++) {
          const size = defined(sizes[(first + count) % 2])
          if (length + size > stage.bytes) break
          length += size
        }
        this.#staged = stage.at
        const run = (kernel: Kernels['wire_encode']) => {
          const { headDim, pageUnit } = pool
          const place = [pool.typeId(layer), pool.layer(layer), pageUnit, pool.heads(layer), headDim, list] as const
          const status = kernel(defined(codecIds[own]), stage.at, ...place, to - from, first, count)
          if (status !== 0) throw new ForetokenError('worker_lost', 'a compute thread was lost; load the engine again')
        }
        one(run, at, length)
        at += length
        first += count
      }
    }
  }

  #stage(least: number): Stage {
    const before = this.#staging
    if (before && before.bytes >= least) return before
    const bytes = Math.max(least, stagingBytes)
    const stage = { at: this.#arena.alloc(bytes, 'tables'), bytes }
    if (before) this.#arena.free(before.at)
    this.#staging = stage
    return stage
  }

  #unitBytes({ headDim }: WasmKvPool, codec: WireCodec, tokens: number, part: number): number {
    const id = codecIds[codec]
    if (id === undefined) throw new ForetokenError('unsupported', `this backend has no codec ${codec}`)
    return this.#kernels.wire_bytes(id, part, headDim, tokens)
  }
}

/**
 * Returns the format in which a layer is sent. Inputs of a convolution are never coarser than f16,
 * which both ends know by the layer.
 */
function codecOf(pool: WasmKvPool, layer: number, codec: WireCodec): WireCodec {
  return pool.convolves(layer) && (codec === 'int8' || codec === 'int4') ? 'f16' : codec
}

/** Throws `internal` if a block is outside of the pool or of its pages. */
function check(pool: WasmKvPool, { layers, from, to, pages }: KvBlock): void {
  const sound =
    from % pageTokens === 0 &&
    from >= 0 &&
    from < to &&
    layers.from >= 0 &&
    layers.from < layers.to &&
    layers.to <= pool.layers
  for (let page = from / pageTokens; sound && page < Math.ceil(to / pageTokens); page++)
    if (!pool.has(pages[page] ?? Number.NaN))
      throw new ForetokenError('internal', `page ${pages[page]} of a block is not one of the ${pool.pages} of its pool`)
  if (!sound)
    throw new ForetokenError('internal', `not a block: tokens ${from}..${to} of layers ${layers.from}..${layers.to}`)
}
