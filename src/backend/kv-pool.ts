/** KV pages in wasm memory; the layout of a page is told in `wasm/src/lib.rs`. */
import { ForetokenError } from '../errors.ts'
import type { KvPool, KvType } from '../types.ts'
import { type Kernels, kvTypeIds } from './abi.ts'
import type { Arena } from './arena.ts'
import type { KvPoolSpec } from './backend.ts'

export class WasmKvPool implements KvPool {
  readonly type: KvType
  readonly layers: number
  readonly kvHeads: number
  readonly headDim: number
  readonly pageBytes: number
  /** Of each layer: its KV heads, and where it begins in a page, bytes. */
  readonly #layers: readonly { readonly heads: number; readonly at: number }[]
  readonly #arena: Arena
  #at: number
  #pages = 0

  constructor(arena: Arena, kernels: Kernels, spec: KvPoolSpec) {
    this.type = spec.type
    this.layers = spec.layers
    this.kvHeads = spec.kvHeads
    this.headDim = spec.headDim
    let bytes = 0
    this.#layers = Array.from({ length: spec.layers }, (_, layer) => {
      const heads = spec.layerKvHeads?.[layer] ?? spec.kvHeads
      const at = bytes
      bytes += kernels.kv_layer_bytes(kvTypeIds[spec.type], heads, spec.headDim)
      return { heads, at }
    })
    this.pageBytes = bytes
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
    return this.#at + this.#layers[layer]!.at
  }

  /** KV heads of layer `layer`. */
  heads(layer: number): number {
    return this.#layers[layer]!.heads
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
