/**
 * Allocates regions of one wasm memory.
 *
 * A region never moves and never grows. A caller that needs more allocates another region and frees
 * the old one; a later allocation of any kind may use the hole. Growth therefore leaves no copies,
 * and users of the memory may allocate in any order. The memory itself never shrinks, since wasm
 * cannot.
 */
import { defined } from '../../base/at.ts'
import { ForetokenError } from '../../base/errors.ts'
import type { MemoryBalance } from '../backend.ts'

/** The use of a region, as listed in the memory balance. */
export type Use = 'weights' | 'pools' | 'tables'

interface Region {
  readonly bytes: number
  readonly use: Use
}

const wasmPage = 65_536
const alignment = 64

/**
 * Size limit of a memory, in 64 KiB pages: one below 4 GiB, so that the address after the last byte
 * is also a 32-bit number.
 */
export const mostWasmPages = 65_535

/**
 * Size limit of a region, in bytes. The kernels' pointer arithmetic is defined within objects of
 * less than 2 GiB only.
 */
export const mostRegionBytes = 2 ** 31 - alignment

export class Arena {
  readonly memory: WebAssembly.Memory
  readonly #regions = new Map<number, Region>()
  /**
   * Bytes of regions, by use. `tables` includes the memory below the arena: the core's static data
   * and its stack.
   */
  readonly #used: Record<Use, number>
  /**
   * The holes between regions by rising address, with the begin and end of each. No two touch, and
   * none touches `#top`.
   */
  readonly #holes: { from: number; to: number }[] = []
  /** End of the last region. */
  #top: number
  /** Start of the memory that has never been allocated and is still zero. */
  #fresh: number
  #bytes: Uint8Array
  #words: Uint32Array
  #floats: Float32Array

  /** Creates an arena whose regions begin at `base`, the module's `__heap_base`. */
  constructor(memory: WebAssembly.Memory, base: number) {
    this.memory = memory
    this.#top = align(base)
    this.#fresh = this.#top
    this.#used = { weights: 0, pools: 0, tables: this.#top }
    this.#bytes = new Uint8Array(memory.buffer)
    this.#words = new Uint32Array(memory.buffer)
    this.#floats = new Float32Array(memory.buffer)
  }

  /**
   * Returns a view of the whole memory. Growth replaces the views: do not keep one across a call
   * that may allocate.
   */
  get bytes(): Uint8Array {
    return this.#current() ? this.#bytes : this.#renew()
  }

  get words(): Uint32Array {
    if (!this.#current()) this.#renew()
    return this.#words
  }

  get floats(): Float32Array {
    if (!this.#current()) this.#renew()
    return this.#floats
  }

  /**
   * Allocates a region of `bytes` on a 64-byte boundary, zeroed unless all of it will be written before
   * it is read. Throws `out_of_memory` if there is no room; nothing has changed then.
   */
  alloc(bytes: number, use: Use, zeroed = true): number {
    checkRegion(bytes, `a region for ${use}`)
    const size = regionBytes(bytes)
    const at = this.#takeHole(size) ?? this.#takeTop(size)
    // Reused memory may hold anything, and above all unwritten slots of a page must not hold NaN.
    if (zeroed && at < this.#fresh) this.bytes.fill(0, at, Math.min(at + size, this.#fresh))
    this.#fresh = Math.max(this.#fresh, at + size)
    this.#regions.set(at, { bytes: size, use })
    this.#used[use] += size
    return at
  }

  /**
   * Grows the memory in one step for `bytes` that will be allocated soon, holes included. A host
   * counts the whole of an unshared memory again at each growth until the old buffer is collected:
   * loading 100 MB in many steps caused 28 full collections in V8. Throws `out_of_memory`.
   */
  reserve(bytes: number): void {
    this.#reach(this.#top + Math.max(0, bytes - this.#inHoles))
  }

  /** Frees the region at `at`. Throws `internal` for an address where no region begins. */
  free(at: number): void {
    const region = this.#regions.get(at)
    if (!region) throw new ForetokenError('internal', `no region begins at ${at}, so none can be freed`)
    this.#regions.delete(at)
    this.#used[region.use] -= region.bytes
    this.#addHole(at, at + region.bytes)
  }

  /**
   * Returns the bytes that can still be allocated if the memory grows to its limit, holes included.
   */
  get room(): number {
    return this.#inHoles + mostWasmPages * wasmPage - this.#top
  }

  /**
   * Returns the uses of all bytes. `free` is counted from holes and the end of the memory, not by
   * subtraction.
   */
  get balance(): MemoryBalance {
    const total = this.memory.buffer.byteLength
    return { total, ...this.#used, free: this.#inHoles + total - this.#top }
  }

  get #inHoles(): number {
    return this.#holes.reduce((sum, { from, to }) => sum + to - from, 0)
  }

  /** Takes the lowest hole that is large enough, so that the memory stays dense at its front. */
  #takeHole(size: number): number | undefined {
    const index = this.#holes.findIndex(({ from, to }) => to - from >= size)
    const hole = this.#holes[index]
    if (!hole) return undefined
    const at = hole.from
    if (hole.to - at === size) this.#holes.splice(index, 1)
    else hole.from += size
    return at
  }

  #takeTop(size: number): number {
    const at = this.#top
    this.#reach(at + size)
    this.#top = at + size
    return at
  }

  /** Joins a hole with its neighbours. */
  #addHole(from: number, to: number): void {
    const holes = this.#holes
    let [low, high] = [0, holes.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (defined(holes[middle]).from < from) low = middle + 1
      else high = middle
    }
    const [before, after] = [holes[low - 1], holes[low]]
    const joinsBefore = before?.to === from
    const joinsAfter = after?.from === to
    const whole = { from: joinsBefore ? defined(before).from : from, to: joinsAfter ? defined(after).to : to }
    const first = low - (joinsBefore ? 1 : 0)
    const replaced = (joinsBefore ? 1 : 0) + (joinsAfter ? 1 : 0)
    if (whole.to === this.#top) {
      this.#top = whole.from
      holes.splice(first, replaced)
    } else holes.splice(first, replaced, whole)
  }

  #reach(end: number): void {
    const have = this.memory.buffer.byteLength
    if (end <= have) return
    const pages = Math.ceil((end - have) / wasmPage)
    const wanted = have + pages * wasmPage
    try {
      if (wanted > mostWasmPages * wasmPage) throw new RangeError('beyond the 4 GiB of a wasm memory')
      this.memory.grow(pages)
    } catch (cause) {
      throw new ForetokenError(
        'out_of_memory',
        `wasm memory could not grow from ${have} to ${wanted} bytes: ${(cause as Error).message}; use fewer kvTokens, a ` +
          'smaller context, a smaller model, or KV in int8',
        { cause },
      )
    }
  }

  #current(): boolean {
    return this.#bytes.byteLength === this.memory.buffer.byteLength
  }

  #renew(): Uint8Array {
    this.#bytes = new Uint8Array(this.memory.buffer)
    this.#words = new Uint32Array(this.memory.buffer)
    this.#floats = new Float32Array(this.memory.buffer)
    return this.#bytes
  }
}

/**
 * Throws `out_of_memory` for more bytes than a region may have, and `internal` if `bytes` is not a
 * size. `what` begins the message.
 */
export function checkRegion(bytes: number, what: string): void {
  if (!(bytes >= 0)) throw new ForetokenError('internal', `${what} of ${bytes} bytes was requested`)
  if (bytes > mostRegionBytes)
    throw new ForetokenError(
      'out_of_memory',
      `${what} takes ${bytes} bytes, and the wasm core holds at most ${mostRegionBytes} in one piece; use a smaller model, ` +
        'one in fewer bits, or a smaller context',
    )
}

/** Returns the bytes that a region of `bytes` takes. */
export function regionBytes(bytes: number): number {
  return Math.max(alignment, align(bytes))
}

function align(bytes: number): number {
  return Math.ceil(bytes / alignment) * alignment
}
