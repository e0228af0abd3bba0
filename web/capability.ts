/** The capabilities of this browser that the engine needs. */
import { adapterName } from '../src/backend/webgpu/device.ts'

export interface Capability {
  /** Maximum number of compute threads; more than one only if memory can be shared. */
  readonly threads: number
  readonly isolated: boolean
  readonly simd: boolean
}

/** A module that validates only if 128-bit SIMD is supported. */
const simdModule = Uint8Array.of(
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11],
)

/**
 * Returns the capabilities. Threads are half of the cores, at most 4, because a tab shares the
 * machine.
 */
export function capability(): Capability {
  const isolated = globalThis.crossOriginIsolated === true && typeof SharedArrayBuffer === 'function'
  const cores = navigator.hardwareConcurrency || 1
  return {
    threads: isolated ? Math.max(1, Math.min(4, cores <= 2 ? cores : cores >> 1)) : 1,
    isolated,
    simd: WebAssembly.validate(simdModule),
  }
}

/** Returns the name of the GPU that a page may use; undefined if there is none. */
export async function gpuName(): Promise<string | undefined> {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: 'high-performance' }).catch(() => null)
  return adapter ? adapterName(adapter.info) || 'unnamed' : undefined
}
