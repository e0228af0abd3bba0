/**
 * Turns blocks of KV pages into bytes of the wire: pages are read back and converted by the Wasm
 * core, which has the same layout.
 */

import { defined } from '../../base/at.ts'
import { type KvPool, pageTokens } from '../../base/kv.ts'
import type { KvBlock, KvCodec, KvCoding, WireCodec } from '../../base/kv-codec.ts'
import type { Backend } from '../backend.ts'
import type { GpuKvPool } from './kv-pool.ts'

/** A block's pages, and their copies: by index, and as page lists from position 0 on. */
interface Copied {
  readonly touched: readonly number[]
  readonly copies: readonly number[]
  readonly pages: readonly number[]
  readonly base: readonly number[] | undefined
}

export class GpuKvCodec implements KvCodec {
  readonly #host: Pick<Backend, 'kvPool'>
  readonly #wire: KvCodec
  /** The host's pool for each GPU pool. It has pages only while they are converted. */
  readonly #pools = new Map<KvPool, KvPool>()
  #busy: Promise<unknown> = Promise.resolve()

  /** `wire` is the codec of `host`. */
  constructor(host: Pick<Backend, 'kvPool'>, wire: KvCodec) {
    this.#host = host
    this.#wire = wire
  }

  kvBytes(pool: KvPool, layers: KvBlock['layers'], tokens: number, codec: WireCodec): number {
    return this.#wire.kvBytes(this.#pool(pool as GpuKvPool), layers, tokens, codec)
  }

  encodeKv(pool: KvPool, block: KvBlock, coding: KvCoding): Promise<Uint8Array<ArrayBuffer>> {
    return this.#alone(async () => {
      const gpu = pool as GpuKvPool
      return this.#copied(gpu, block, coding, (host, { pages, base }) =>
        this.#wire.encodeKv(host, { ...block, pages }, { ...coding, ...(base && { base }) }),
      )
    })
  }

  decodeKv(pool: KvPool, block: KvBlock, coding: KvCoding, bytes: Uint8Array): Promise<void> {
    return this.#alone(async () => {
      const gpu = pool as GpuKvPool
      await this.#copied(gpu, block, coding, async (host, { pages, touched, copies }) => {
        await this.#wire.decodeKv(host, { ...block, pages }, coding, bytes)
        for (const [index, page] of touched.entries()) gpu.writePage(page, await host.readPage(defined(copies[index])))
      })
    })
  }

  /**
   * Runs `work` on copies in the host's pool of the pages that hold a block, and of those of its
   * prediction.
   */
  async #copied<T>(
    gpu: GpuKvPool,
    { from, to, pages }: KvBlock,
    { base }: KvCoding,
    work: (host: KvPool, copied: Copied) => Promise<T>,
  ): Promise<T> {
    const host = this.#pool(gpu)
    const [first, end] = [Math.floor(from / pageTokens), Math.ceil(to / pageTokens)]
    const touched = pages.slice(first, end)
    const wanted = [...touched, ...(base ?? []).slice(first, end)]
    const copies: number[] = []
    try {
      while (copies.length < wanted.length)
        for (const page of host.add(wanted.length - copies.length)) copies.push(page)
      for (const [index, bytes] of (await gpu.readPages(wanted)).entries())
        host.writePage(defined(copies[index]), bytes)
      const at = (list: readonly number[], offset: number) =>
        list.slice(0, end).map((_, index) => defined(copies[Math.max(0, index - first) + offset]))
      return await work(host, { touched, copies, pages: at(pages, 0), base: base && at(base, touched.length) })
    } finally {
      host.remove(copies)
    }
  }

  #pool(gpu: GpuKvPool): KvPool {
    const found = this.#pools.get(gpu) ?? this.#host.kvPool(gpu.spec)
    this.#pools.set(gpu, found)
    return found
  }

  /** Runs one block at a time, since they share the host's pages. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#busy.then(work)
    this.#busy = done.catch(() => {})
    return done
  }
}
