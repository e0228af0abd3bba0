/** Blocks of KV pages as bytes of the wire: pages are read back, and the Wasm core, whose layout they have, turns them into bytes. */

import type { Backend } from '../../src/backend/backend.ts'
import { type KvBlock, type KvCodec, type KvCoding, type KvPool, pageTokens, type WireCodec } from '../../src/index.ts'
import type { GpuKvPool } from './kv-pool.ts'

export class GpuKvCodec implements KvCodec {
  readonly #host: Backend
  /** Pools of the host, by ours: pages that are being turned into bytes, or made from them. */
  readonly #pools = new Map<KvPool, KvPool>()
  #busy: Promise<unknown> = Promise.resolve()

  constructor(host: Backend) {
    this.#host = host
  }

  kvBytes(pool: KvPool, layers: KvBlock['layers'], tokens: number, codec: WireCodec): number {
    return this.#host.kvBytes(this.#pool(pool as GpuKvPool), layers, tokens, codec)
  }

  encodeKv(pool: KvPool, block: KvBlock, coding: KvCoding): Promise<Uint8Array<ArrayBuffer>> {
    return this.#alone(async () => {
      const gpu = pool as GpuKvPool
      const { host, pages, base } = await this.#copied(gpu, block, coding)
      return this.#host.encodeKv(host, { ...block, pages }, { ...coding, ...(base && { base }) })
    })
  }

  decodeKv(pool: KvPool, block: KvBlock, coding: KvCoding, bytes: Uint8Array): Promise<void> {
    return this.#alone(async () => {
      const gpu = pool as GpuKvPool
      const { host, pages, touched } = await this.#copied(gpu, block, coding)
      await this.#host.decodeKv(host, { ...block, pages }, coding, bytes)
      for (const [index, page] of touched.entries()) gpu.writePage(page, await host.readPage(index))
    })
  }

  /** The pages that hold a block, and those of its prediction, in the host's pool, as 0, 1, 2 and so on. */
  async #copied(gpu: GpuKvPool, { from, to, pages }: KvBlock, { base }: KvCoding) {
    const host = this.#pool(gpu)
    const [first, end] = [Math.floor(from / pageTokens), Math.ceil(to / pageTokens)]
    const touched = pages.slice(first, end)
    const wanted = [...touched, ...(base ?? []).slice(first, end)]
    host.grow(wanted.length)
    for (const [index, bytes] of (await gpu.readPages(wanted)).entries()) host.writePage(index, bytes)
    const at = (list: readonly number[], offset: number) =>
      list.slice(0, end).map((_, index) => (index < first ? 0 : index - first + offset))
    return { host, touched, pages: at(pages, 0), base: base && at(base, touched.length) }
  }

  #pool(gpu: GpuKvPool): KvPool {
    const found = this.#pools.get(gpu) ?? this.#host.kvPool(gpu.spec)
    this.#pools.set(gpu, found)
    return found
  }

  /** One block at a time: they share the host's pages. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#busy.then(work)
    this.#busy = done.catch(() => {})
    return done
  }
}
