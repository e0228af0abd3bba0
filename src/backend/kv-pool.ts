/** KV pages in wasm memory; the layout of a page is told in `wasm/src/lib.rs`. */
import { ForetokenError } from '../errors.ts'
import type { KvPool, KvType } from '../types.ts'
import { type Kernels, kvTypeIds } from './abi.ts'
import type { Arena } from './arena.ts'

export class WasmKvPool implements KvPool {
  readonly type: KvType
  readonly layers: number
  readonly kvHeads: number
  readonly headDim: number
  readonly pageBytes: number
  readonly #layerBytes: number
  readonly #arena: Arena
  #at: number
  #pages = 0

  constructor(
    arena: Arena,
    kernels: Kernels,
    spec: { type: KvType; layers: number; kvHeads: number; headDim: number },
  ) {
    this.type = spec.type
    this.layers = spec.layers
    this.kvHeads = spec.kvHeads
    this.headDim = spec.headDim
    this.#layerBytes = kernels.kv_layer_bytes(kvTypeIds[spec.type], spec.kvHeads, spec.headDim)
    this.pageBytes = this.#layerBytes * spec.layers
    this.#arena = arena
    this.#at = arena.alloc(0)
  }

  get pages(): number {
    return this.#pages
  }

  grow(pages: number): void {
    if (pages <= this.#pages) return
    this.#at = this.#arena.grow(this.#at, this.#pages * this.pageBytes, pages * this.pageBytes)
    this.#pages = pages
  }

  /** Where layer `layer` of page 0 begins. */
  layer(layer: number): number {
    return this.#at + layer * this.#layerBytes
  }

  async readPage(page: number): Promise<Uint8Array> {
    const at = this.#address(page)
    return this.#arena.bytes.slice(at, at + this.pageBytes)
  }

  writePage(page: number, bytes: Uint8Array): void {
    if (bytes.length !== this.pageBytes)
      throw new ForetokenError('bad_argument', `a KV page has ${this.pageBytes} bytes, not ${bytes.length}`)
    this.#arena.bytes.set(bytes, this.#address(page))
  }

  #address(page: number): number {
    if (!(page >= 0 && page < this.#pages))
      throw new ForetokenError('internal', `KV page ${page} is outside the pool of ${this.#pages}`)
    return this.#at + page * this.pageBytes
  }
}
