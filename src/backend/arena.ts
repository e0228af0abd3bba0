/**
 * The layout of one wasm memory: regions that are handed out in order and live until the backend closes.
 *
 * Only the last region may grow, which is what a KV pool does; a region that must grow elsewhere moves.
 */
import { ForetokenError } from '../errors.ts'

const wasmPage = 65_536

export class Arena {
  readonly memory: WebAssembly.Memory
  #top: number
  #bytes: Uint8Array
  #words: Uint32Array
  #floats: Float32Array

  /** Regions begin at `base` (the module's `__heap_base`). */
  constructor(memory: WebAssembly.Memory, base: number) {
    this.memory = memory
    this.#top = align(base)
    this.#bytes = new Uint8Array(memory.buffer)
    this.#words = new Uint32Array(memory.buffer)
    this.#floats = new Float32Array(memory.buffer)
  }

  /** Views of the whole memory. A growth replaces them: never keep one over a call that may allocate. */
  get bytes(): Uint8Array {
    return this.#fresh() ? this.#bytes : this.#renew()
  }

  get words(): Uint32Array {
    if (!this.#fresh()) this.#renew()
    return this.#words
  }

  get floats(): Float32Array {
    if (!this.#fresh()) this.#renew()
    return this.#floats
  }

  /** A zeroed region of `bytes`, on a 64-byte boundary. Throws `out_of_memory`. */
  alloc(bytes: number): number {
    const at = this.#top
    this.#reach(at + bytes)
    this.#top = align(at + bytes)
    return at
  }

  /** The region at `at` with room for `bytes` instead of `had`: in place if it is the last one, else moved. */
  grow(at: number, had: number, bytes: number): number {
    if (align(at + had) === this.#top) {
      this.#reach(at + bytes)
      this.#top = align(at + bytes)
      return at
    }
    const moved = this.alloc(bytes)
    this.bytes.copyWithin(moved, at, at + had)
    return moved
  }

  /** Gives back all that was handed out since `mark`, a former `top`. The memory itself never shrinks. */
  rewind(mark: number): void {
    this.#top = mark
  }

  get top(): number {
    return this.#top
  }

  #reach(end: number): void {
    const have = this.memory.buffer.byteLength
    if (end <= have) return
    const pages = Math.ceil((end - have) / wasmPage)
    try {
      this.memory.grow(pages)
    } catch (cause) {
      throw new ForetokenError(
        'out_of_memory',
        `wasm memory could not grow from ${have} to ${have + pages * wasmPage} bytes; use a smaller context, ` +
          'a smaller model, or KV in int8',
        { cause },
      )
    }
  }

  #fresh(): boolean {
    return this.#bytes.byteLength === this.memory.buffer.byteLength
  }

  #renew(): Uint8Array {
    this.#bytes = new Uint8Array(this.memory.buffer)
    this.#words = new Uint32Array(this.memory.buffer)
    this.#floats = new Float32Array(this.memory.buffer)
    return this.#bytes
  }
}

function align(address: number): number {
  return Math.ceil(address / 64) * 64
}
