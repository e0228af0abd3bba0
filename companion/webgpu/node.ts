/** A WebGPU device in Node, by Dawn (the package `webgpu`, an optional peer): Metal on macOS, Vulkan on Linux, D3D12 on Windows. */
import { loadWasm } from '../../node/index.ts'
import type { Backend } from '../../src/backend/backend.ts'
import { createWasmBackend } from '../../src/backend/wasm.ts'
import { ForetokenError } from '../../src/index.ts'
import { createWebGpuBackend } from './backend.ts'

export interface OpenDevice {
  readonly device: GPUDevice
  /** Of the adapter: `apple metal-3`, `google swiftshader`. */
  readonly name: string
}

/** What of an adapter is asked for, so that large models fit: its own limits. */
const wanted = ['maxBufferSize', 'maxStorageBufferBindingSize'] as const

/** A backend on this machine's GPU. Throws `unsupported`. */
export async function openWebGpu(): Promise<Backend> {
  const opened = await openDevice()
  const host = await createWasmBackend({ modules: await loadWasm('auto', 1) })
  return createWebGpuBackend({ ...opened, host })
}

/** Throws `unsupported`, with what to do, where there is no package, no adapter or no device. */
export async function openDevice(): Promise<OpenDevice> {
  const { create } = await dawn()
  const gpu: GPU = create([])
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' })
  if (!adapter)
    throw new ForetokenError(
      'unsupported',
      'no GPU adapter: install a Vulkan driver (or set VK_ICD_FILENAMES to one), or use --backend wasm',
    )
  const requiredLimits = Object.fromEntries(wanted.map((limit) => [limit, adapter.limits[limit]]))
  const device = await adapter.requestDevice({ requiredLimits }).catch((cause) => {
    throw new ForetokenError('unsupported', `the GPU adapter gives no device: ${cause.message}; use --backend wasm`, {
      cause,
    })
  })
  const { vendor, architecture, device: chip, description } = adapter.info
  kept.add(gpu)
  return { device, name: [vendor, architecture || chip || description].filter(Boolean).join(' ').toLowerCase() }
}

/** The instance must outlive its devices. */
const kept = new Set<GPU>()

async function dawn(): Promise<{ create(options: string[]): GPU }> {
  // The types of the package would make the whole program's.
  const name: string = 'webgpu'
  try {
    return await import(name)
  } catch (cause) {
    throw new ForetokenError(
      'unsupported',
      'the package `webgpu` is not installed: npm install webgpu, or use --backend wasm',
      {
        cause,
      },
    )
  }
}
