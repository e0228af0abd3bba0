/**
 * Holds KV pages in wasm memory; `wasm/core/src/lib.rs` describes the layout of a page.
 *
 * Every page is a region of its own. The kernels find page p at `origin + p * unit`, so its id is
 * its address in units of 64 bytes. A pool therefore grows without moving, and the arena can reuse
 * any page that is removed.
 */
import { at } from '../../base/at.ts'
import { ForetokenError } from '../../base/errors.ts'
import { type KvPool, type KvType, type PageLayout, pageLayout } from '../../base/kv.ts'
import { type KvPoolSpec, kvShapeOf } from '../backend.ts'
import { type Kernels, kvTypeIds } from './abi.ts'
import { type Arena, checkRegion } from './arena.ts'

/** Bytes between two page ids. A slot is a page id times 16 in 32 bits, which reaches 16 GiB. */
const unit = 64
/** Address at which page 0 would begin. It is not 0, so that no kernel gets a null pointer. */
const origin = unit

export class WasmKvPool implements KvPool {
  readonly type: KvType
  readonly layers: number
  readonly kvHeads: number
  readonly headDim: number
  readonly pageBytes: number
  /** Bytes from one page id to the next, as the kernels expect it. */
  readonly pageUnit = unit
  readonly #layers: PageLayout['layers']
  readonly #arena: Arena
  readonly #pages = new Set<number>()
  /** Number of removals. Pages that were checked need not be checked again until it changes. */
  #removals = 0

  /** Throws `out_of_memory` for pages too large for any memory. */
  constructor(arena: Arena, kernels: Kernels, spec: KvPoolSpec) {
    this.type = spec.type
    this.layers = spec.layers
    this.kvHeads = spec.kvHeads
    this.headDim = spec.headDim
    const { layers, bytes } = pageLayout(kvShapeOf(spec), spec.type)
    for (const { kvHeads, bytes, type } of layers) {
      const core = kernels.kv_layer_bytes(kvTypeIds[type], kvHeads, spec.headDim)
      if (core !== bytes)
        throw new ForetokenError(
          'internal',
          `a layer of ${kvHeads} KV heads of ${spec.headDim} ${type} takes ${bytes} bytes here and ${core} in the core`,
        )
    }
    this.#layers = layers
    checkRegion(bytes, `a KV page of ${spec.layers} layers`)
    this.pageBytes = bytes
    this.#arena = arena
  }

  get pages(): number {
    return this.#pages.size
  }

  get removals(): number {
    return this.#removals
  }

  has(page: number): boolean {
    return this.#pages.has(page)
  }

  add(pages: number): number[] {
    const added: number[] = []
    this.#growFor(pages)
    try {
      while (added.length < pages) added.push((this.#arena.alloc(this.pageBytes, 'pools') - origin) / unit)
    } catch (error) {
      // Adding some pages is better than adding none.
      if (added.length === 0) throw error
    }
    for (const page of added) this.#pages.add(page)
    return added
  }

  /** Grows the memory once for all pages; if they do not all fit, `add` allocates as many as do. */
  #growFor(pages: number): void {
    try {
      this.#arena.reserve(pages * this.pageBytes)
    } catch (error) {
      if (!(error instanceof ForetokenError && error.code === 'out_of_memory')) throw error
    }
  }

  remove(pages: readonly number[]): void {
    for (const page of pages) {
      const at = this.#address(page)
      this.#pages.delete(page)
      this.#removals++
      this.#arena.free(at)
    }
  }

  /** Returns the address at which layer `layer` of page 0 would begin. */
  layer(layer: number): number {
    return origin + at(this.#layers, layer).at
  }

  /** Returns the KV heads of layer `layer`. */
  heads(layer: number): number {
    return at(this.#layers, layer).kvHeads
  }

  /** Returns the ABI number of the type of layer `layer`. */
  typeId(layer: number): number {
    return kvTypeIds[at(this.#layers, layer).type]
  }

  /** Returns whether layer `layer` is a convolution. */
  convolves(layer: number): boolean {
    return at(this.#layers, layer).convolution
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
    if (!this.#pages.has(page))
      throw new ForetokenError('internal', `KV page ${page} is not one of the ${this.#pages.size} of its pool`)
    return origin + page * unit
  }
}
