/**
 * Holds KV pages in a GPU buffer, in the layout of the Wasm core, so that saved prefixes and
 * streams of K and V are the same everywhere.
 */

import { at } from '../../base/at.ts'
import { ForetokenError } from '../../base/errors.ts'
import { type KvPool, type KvType, pageLayout } from '../../base/kv.ts'
import { type KvPoolSpec, kvShapeOf } from '../backend.ts'
import type { Gpu } from './gpu.ts'

/** A layer's KV heads, the word of a page at which it begins, and its type. */
interface LayerPlace {
  readonly heads: number
  readonly word: number
  readonly type: KvType
}

export class GpuKvPool implements KvPool {
  readonly spec: KvPoolSpec
  readonly type: KvType
  readonly layers: number
  readonly kvHeads: number
  readonly headDim: number
  readonly pageBytes: number
  readonly #layers: readonly LayerPlace[]
  readonly #gpu: Gpu
  #buffer: GPUBuffer
  /**
   * Number of pages at the front of the buffer, and those of them that are not in the pool: without
   * `#gaps` the pool has 0 to `#end` - 1.
   */
  #end = 0
  readonly #gaps = new Set<number>()

  constructor(gpu: Gpu, spec: KvPoolSpec) {
    this.spec = spec
    this.type = spec.type
    this.layers = spec.layers
    this.kvHeads = spec.kvHeads
    this.headDim = spec.headDim
    const { layers, bytes } = pageLayout(kvShapeOf(spec), spec.type)
    this.#layers = layers.map(({ at, kvHeads, type }) => ({ heads: kvHeads, word: at / 4, type }))
    this.pageBytes = bytes
    this.#gpu = gpu
    this.#buffer = gpu.buffer(256, 'KV pages', 'pools')
  }

  get pages(): number {
    return this.#end - this.#gaps.size
  }

  /** Returns the bytes of the buffer that belong to no page. */
  get slack(): number {
    return this.#buffer.size - this.pages * this.pageBytes
  }

  get buffer(): GPUBuffer {
    return this.#buffer
  }

  layer(layer: number): LayerPlace {
    return at(this.#layers, layer)
  }

  /**
   * Fills gaps first, the lowest first. All pages lie in one buffer, which is replaced by a larger
   * one when it is full.
   */
  add(pages: number): number[] {
    const added = [...this.#gaps].sort((a, b) => a - b).slice(0, pages)
    const missing = pages - added.length
    if (missing > 0 && (this.#end + missing) * this.pageBytes > this.#buffer.size) this.#resize(this.#end + missing)
    for (const page of added) this.#gaps.delete(page)
    for (let i = 0; i < missing; i++) added.push(this.#end++)
    return added
  }

  /** Removes pages. A buffer that is less than a quarter full is replaced by a smaller one. */
  remove(pages: readonly number[]): void {
    for (const page of pages) {
      this.#at(page)
      this.#gaps.add(page)
    }
    while (this.#gaps.delete(this.#end - 1)) this.#end--
    if (4 * this.#end * this.pageBytes < this.#buffer.size - 256) this.#resize(this.#end)
  }

  /**
   * Replaces the buffer by one for `pages`, and half as many again if that can be bound, since each
   * change is a copy.
   */
  #resize(pages: number): void {
    const { maxStorageBufferBindingSize } = this.#gpu.device.limits
    const least = Math.max(256, pages * this.pageBytes)
    const wanted = Math.max(least, Math.min(1.5 * least, maxStorageBufferBindingSize))
    this.#buffer = this.#gpu.replaced(this.#buffer, Math.floor(wanted / 4) * 4, 'KV pages', 'pools')
  }

  async readPage(page: number): Promise<Uint8Array> {
    return new Uint8Array(await this.#gpu.read(this.#buffer, this.#at(page), this.pageBytes))
  }

  /** Returns the bytes of several pages, in one read. */
  async readPages(pages: readonly number[]): Promise<Uint8Array[]> {
    const runs = pages.map((page) => ({ at: this.#at(page), bytes: this.pageBytes }))
    return (await this.#gpu.readAll(this.#buffer, runs)).map((bytes) => new Uint8Array(bytes))
  }

  writePage(page: number, bytes: Uint8Array): void {
    if (bytes.length !== this.pageBytes)
      throw new ForetokenError('bad_argument', `a KV page has ${this.pageBytes} bytes, not ${bytes.length}`)
    this.#gpu.writeBuffer(this.#buffer, this.#at(page), bytes)
  }

  #at(page: number): number {
    if (!(page >= 0 && page < this.#end) || this.#gaps.has(page))
      throw new ForetokenError('internal', `KV page ${page} is not one of the ${this.pages} of its pool`)
    return page * this.pageBytes
  }
}
