/**
 * One device and what all kernels share: buffers, a list of commands that is submitted when
 * somebody reads, and one layout of bindings.
 *
 *     0  parameters of a call, by a dynamic offset      1  activations, one buffer for all tensors (f32)
 *     2  a weight                                       3  tables of the pass: pages, angles (u32)
 *     4  lists of a call: token ids, rows (u32)         5  K and V (u32)
 *
 * All tensors live in one buffer that kernels read and write, so that a kernel may work in place
 * and on columns of a wider tensor: WebGPU forbids two bindings of a buffer where one of them
 * writes.
 */
import { defined } from '../../base/at.ts'
import { ForetokenError } from '../../base/errors.ts'

/** Values of `GPUBufferUsage` and `GPUMapMode`, which are not global everywhere. */
const usage = { mapRead: 1, copySource: 4, copyTarget: 8, uniform: 64, storage: 128 } as const

/** Bytes between two calls' parameters: the largest alignment that an adapter may ask for. */
const slotBytes = 256
const slots = 4096
const listWords = 1 << 16

export interface Call {
  readonly kernel: string
  /**
   * Parameters in the order of the kernel's `P`; numbers with a fraction are f32 and passed as
   * `f32(x)`.
   */
  readonly params: readonly number[]
  readonly groups: readonly [x: number, y: number]
  readonly weight?: GPUBuffer
  readonly kv?: GPUBuffer
}

/** The use of a buffer, as the balance of memory lists it. */
export type BufferUse = 'weights' | 'pools' | 'tables'

const bits = new DataView(new ArrayBuffer(4))

/** Returns the word that holds an f32. */
export function f32(value: number): number {
  bits.setFloat32(0, value, true)
  return bits.getUint32(0, true)
}

export class Gpu {
  readonly device: GPUDevice
  readonly #layout: GPUBindGroupLayout
  readonly #pipelineLayout: GPUPipelineLayout
  readonly #source: (kernel: string) => string
  readonly #pipelines = new Map<string, GPUComputePipeline>()
  readonly #params: GPUBuffer
  readonly #lists: GPUBuffer
  /** Bound for calls that have no weight, or no K and V: one is read, the other may be written. */
  readonly #noWeight: GPUBuffer
  readonly #noKv: GPUBuffer
  /** Bind groups by weight and by K and V. Those of replaced buffers are dropped. */
  #groups = new Map<GPUBuffer, Map<GPUBuffer, GPUBindGroup>>()
  readonly #paramWords = new Uint32Array((slots * slotBytes) / 4)
  readonly #listWords = new Uint32Array(listWords)
  #calls = 0
  #listed = 0
  #encoder: GPUCommandEncoder | undefined
  #pass: GPUComputePassEncoder | undefined
  #arena: GPUBuffer
  #arenaTop = 0
  #tables: GPUBuffer
  #failed: ForetokenError | undefined
  #closed = false
  /** Bytes of all buffers, by use. */
  readonly #used: Record<BufferUse, number> = { weights: 0, pools: 0, tables: 0 }
  readonly #uses = new WeakMap<GPUBuffer, BufferUse>()

  /** `source` returns the WGSL of a kernel for this device's features. */
  constructor(device: GPUDevice, source: (kernel: string) => string) {
    this.device = device
    this.#source = source
    const storage = (binding: number, type: GPUBufferBindingType): GPUBindGroupLayoutEntry => {
      return { binding, visibility: 4, buffer: { type } }
    }
    this.#layout = device.createBindGroupLayout({
      entries: [
        { binding: 0, visibility: 4, buffer: { type: 'uniform', hasDynamicOffset: true, minBindingSize: 64 } },
        storage(1, 'storage'),
        storage(2, 'read-only-storage'),
        storage(3, 'read-only-storage'),
        storage(4, 'read-only-storage'),
        storage(5, 'storage'),
      ],
    })
    this.#pipelineLayout = device.createPipelineLayout({ bindGroupLayouts: [this.#layout] })
    this.#params = this.buffer(slots * slotBytes, 'parameters', 'tables', usage.uniform)
    this.#lists = this.buffer(listWords * 4, 'lists')
    this.#noWeight = this.buffer(256, 'no weight')
    this.#noKv = this.buffer(256, 'no K and V')
    this.#arena = this.buffer(1 << 16, 'activations')
    this.#tables = this.buffer(1 << 12, 'tables')
    device.addEventListener('uncapturederror', ({ error }) => {
      const memory = error.constructor.name === 'GPUOutOfMemoryError'
      this.#fail(memory ? 'out_of_memory' : 'internal', `the GPU refused a command: ${error.message}`)
    })
    device.lost.then(({ reason, message }) => {
      if (!this.#closed) this.#fail('worker_lost', `the GPU was lost (${reason || message}); load the engine again`)
    })
  }

  /** Bytes of all buffers, by use. */
  get used(): Readonly<Record<BufferUse, number>> {
    return this.#used
  }

  /** Creates a zeroed buffer. Throws `out_of_memory` for one that the device cannot bind. */
  buffer(bytes: number, what: string, use: BufferUse = 'tables', as: number = usage.storage): GPUBuffer {
    const { maxStorageBufferBindingSize, maxBufferSize } = this.device.limits
    const most = Math.min(maxStorageBufferBindingSize, maxBufferSize)
    if (bytes > most)
      throw new ForetokenError(
        'out_of_memory',
        `${what} need ${bytes} bytes in one buffer, and this GPU binds ${most}; give fewer tokens, or use the wasm backend`,
      )
    const size = Math.max(256, Math.ceil(bytes / 256) * 256)
    const buffer = this.device.createBuffer({ label: what, size, usage: as | usage.copySource | usage.copyTarget })
    this.#used[use] += size
    this.#uses.set(buffer, use)
    return buffer
  }

  /** Allocates `values` f32 among the activations and returns their index. */
  alloc(values: number): number {
    const at = this.#arenaTop
    // Rows of four are read at once.
    this.#arenaTop += Math.ceil(values / 4) * 4
    if (this.#arenaTop * 4 > this.#arena.size) {
      const { maxStorageBufferBindingSize } = this.device.limits
      const wanted = Math.max(this.#arenaTop * 4, Math.min(this.#arena.size * 2, maxStorageBufferBindingSize))
      this.#arena = this.replaced(this.#arena, wanted, 'activations')
    }
    return at
  }

  /** Replaces a buffer with a longer or shorter copy, and destroys it. */
  replaced(old: GPUBuffer, bytes: number, what: string, use: BufferUse = 'tables'): GPUBuffer {
    const buffer = this.buffer(bytes, what, use)
    this.#outside().copyBufferToBuffer(old, 0, buffer, 0, Math.min(old.size, buffer.size))
    this.free(old)
    return buffer
  }

  /** Destroys a buffer after all work before it has been submitted. */
  free(buffer: GPUBuffer): void {
    this.flush()
    this.#groups = new Map()
    this.#used[defined(this.#uses.get(buffer))] -= buffer.size
    buffer.destroy()
  }

  /** Replaces the tables of the pass. */
  setTables(words: Uint32Array<ArrayBuffer>): void {
    this.flush()
    if (words.byteLength > this.#tables.size) {
      this.free(this.#tables)
      this.#tables = this.buffer(2 * words.byteLength, 'tables')
    }
    this.device.queue.writeBuffer(this.#tables, 0, words)
  }

  /** Writes values into the activations, after all work before it. */
  write(at: number, values: Float32Array): void {
    this.flush()
    this.device.queue.writeBuffer(
      this.#arena,
      at * 4,
      new Uint8Array(values.buffer, values.byteOffset, values.byteLength).slice(),
    )
  }

  /** Uploads a list for the next call and returns its index. */
  list(values: readonly number[]): number {
    if (values.length > listWords)
      throw new ForetokenError(
        'bad_argument',
        `a list of ${values.length} rows exceeds ${listWords}; give fewer at once`,
      )
    if (this.#listed + values.length > listWords) this.flush()
    const at = this.#listed
    this.#listWords.set(values, at)
    this.#listed += values.length
    return at
  }

  call({ kernel, params, groups: [x, y], weight = this.#noWeight, kv = this.#noKv }: Call): void {
    if (x === 0 || y === 0) return
    if (this.#calls === slots) this.#submitCalls()
    const pipeline = this.#pipelines.get(kernel) ?? this.#compile(kernel)
    this.#paramWords.set(params, (this.#calls * slotBytes) / 4)
    this.#encoder ??= this.device.createCommandEncoder()
    this.#pass ??= this.#encoder.beginComputePass()
    this.#pass.setPipeline(pipeline)
    this.#pass.setBindGroup(0, this.#group(weight, kv), [this.#calls * slotBytes])
    this.#pass.dispatchWorkgroups(x, y)
    this.#calls++
  }

  /** Submits what was recorded. */
  flush(): void {
    this.#submitCalls()
    this.#listed = 0
  }

  /**
   * Returns bytes of a buffer, after all work before it. Rejects with the error of work that
   * failed.
   */
  async read(buffer: GPUBuffer | 'activations', at: number, bytes: number): Promise<ArrayBuffer> {
    return defined((await this.readAll(buffer, [{ at, bytes }]))[0])
  }

  /** Returns several ranges of bytes of a buffer. */
  async readAll(
    buffer: GPUBuffer | 'activations',
    runs: readonly { readonly at: number; readonly bytes: number }[],
  ): Promise<ArrayBuffer[]> {
    const from = buffer === 'activations' ? this.#arena : buffer
    const size = runs.reduce((sum, { bytes }) => sum + bytes, 0)
    if (size === 0) return runs.map(() => new ArrayBuffer(0))
    const target = this.device.createBuffer({ size, usage: usage.mapRead | usage.copyTarget })
    const encoder = this.#outside()
    let to = 0
    for (const { at, bytes } of runs) {
      encoder.copyBufferToBuffer(from, at, target, to, bytes)
      to += bytes
    }
    this.flush()
    try {
      await target.mapAsync(1)
      if (this.#failed) throw this.#failed
      const mapped = target.getMappedRange()
      let begin = 0
      return runs.map(({ bytes }) => {
        begin += bytes
        return mapped.slice(begin - bytes, begin)
      })
    } catch (cause) {
      throw (
        this.#failed ?? new ForetokenError('worker_lost', 'the GPU gave nothing back; load the engine again', { cause })
      )
    } finally {
      target.destroy()
    }
  }

  /** Writes bytes into a buffer, after all work before it. */
  writeBuffer(buffer: GPUBuffer, at: number, bytes: Uint8Array): void {
    this.flush()
    this.device.queue.writeBuffer(buffer, at, bytes.slice())
  }

  close(): void {
    this.#closed = true
    this.device.destroy()
  }

  /** Returns the encoder, with no compute pass open. */
  #outside(): GPUCommandEncoder {
    this.#pass?.end()
    this.#pass = undefined
    this.#encoder ??= this.device.createCommandEncoder()
    return this.#encoder
  }

  #submitCalls(): void {
    if (!this.#encoder) return
    this.#pass?.end()
    this.#pass = undefined
    const { queue } = this.device
    if (this.#calls > 0) queue.writeBuffer(this.#params, 0, this.#paramWords, 0, (this.#calls * slotBytes) / 4)
    if (this.#listed > 0) queue.writeBuffer(this.#lists, 0, this.#listWords, 0, this.#listed)
    queue.submit([this.#encoder.finish()])
    this.#encoder = undefined
    this.#calls = 0
  }

  #compile(kernel: string): GPUComputePipeline {
    const module = this.device.createShaderModule({ label: kernel, code: this.#source(kernel) })
    const pipeline = this.device.createComputePipeline({
      label: kernel,
      layout: this.#pipelineLayout,
      compute: { module, entryPoint: 'main' },
    })
    this.#pipelines.set(kernel, pipeline)
    return pipeline
  }

  #group(weight: GPUBuffer, kv: GPUBuffer): GPUBindGroup {
    const byKv = this.#groups.get(weight) ?? new Map<GPUBuffer, GPUBindGroup>()
    this.#groups.set(weight, byKv)
    const found = byKv.get(kv)
    if (found) return found
    const all = [this.#arena, weight, this.#tables, this.#lists, kv]
    const group = this.device.createBindGroup({
      layout: this.#layout,
      entries: [
        { binding: 0, resource: { buffer: this.#params, size: 64 } },
        ...all.map((buffer, index) => ({ binding: index + 1, resource: { buffer } })),
      ],
    })
    byKv.set(kv, group)
    return group
  }

  #fail(code: 'out_of_memory' | 'internal' | 'worker_lost', message: string): void {
    this.#failed ??= new ForetokenError(code, message)
  }
}
