/** KV pages in a GPU buffer, each as the Wasm core has it, so that saved prefixes and streams of K and V are the same everywhere. */

import type { KvPoolSpec } from '../../src/backend/backend.ts'
import { ForetokenError, type KvPool, type KvType, pageTokens } from '../../src/index.ts'
import type { Gpu } from './gpu.ts'

const elementBytes: Readonly<Record<KvType, number>> = { f32: 4, f16: 2, int8: 1 }

export class GpuKvPool implements KvPool {
  readonly spec: KvPoolSpec
  readonly type: KvType
  readonly layers: number
  readonly kvHeads: number
  readonly headDim: number
  readonly pageBytes: number
  /** Of each layer: its KV heads, and the word of a page at which it begins. */
  readonly #layers: readonly { readonly heads: number; readonly word: number }[]
  readonly #gpu: Gpu
  #buffer: GPUBuffer
  #pages = 0

  constructor(gpu: Gpu, spec: KvPoolSpec) {
    this.spec = spec
    this.type = spec.type
    this.layers = spec.layers
    this.kvHeads = spec.kvHeads
    this.headDim = spec.headDim
    let bytes = 0
    this.#layers = Array.from({ length: spec.layers }, (_, layer) => {
      const heads = spec.layerKvHeads?.[layer] ?? spec.kvHeads
      const word = bytes / 4
      const scales = spec.type === 'int8' ? 2 * heads * pageTokens * 4 : 0
      bytes += 2 * heads * spec.headDim * pageTokens * elementBytes[spec.type] + scales
      return { heads, word }
    })
    this.pageBytes = bytes
    this.#gpu = gpu
    this.#buffer = gpu.buffer(256, 'KV pages')
  }

  get pages(): number {
    return this.#pages
  }

  get buffer(): GPUBuffer {
    return this.#buffer
  }

  layer(layer: number): { readonly heads: number; readonly word: number } {
    return this.#layers[layer]!
  }

  grow(pages: number): void {
    if (pages <= this.#pages) return
    if (pages * this.pageBytes > this.#buffer.size) {
      const { maxStorageBufferBindingSize } = this.#gpu.device.limits
      // Half as much again, where that can be bound: each growth is a copy.
      const wanted = Math.max(pages * this.pageBytes, Math.min(1.5 * this.#buffer.size, maxStorageBufferBindingSize))
      this.#buffer = this.#gpu.grown(this.#buffer, Math.floor(wanted / 4) * 4, 'KV pages')
    }
    this.#pages = pages
  }

  async readPage(page: number): Promise<Uint8Array> {
    return new Uint8Array(await this.#gpu.read(this.#buffer, this.#at(page), this.pageBytes))
  }

  /** Some pages, in one reading. */
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
    if (!(page >= 0 && page < this.#pages))
      throw new ForetokenError('internal', `KV page ${page} is outside the pool of ${this.#pages}`)
    return page * this.pageBytes
  }
}
