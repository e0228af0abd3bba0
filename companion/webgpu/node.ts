/** A WebGPU device in Node, by Dawn (the package `webgpu`, an optional peer): Metal on macOS, Vulkan on Linux, D3D12 on Windows. */
import { loadWasm } from '../../node/index.ts'
import type { Backend } from '../../src/backend/backend.ts'
import { createWasmBackend } from '../../src/backend/wasm.ts'
import { ForetokenError } from '../../src/index.ts'
import { createWebGpuBackend } from './backend.ts'
import { deviceOf, type OpenDevice } from './device.ts'

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
  const opened = await deviceOf(
    gpu,
    'install a Vulkan driver (or set VK_ICD_FILENAMES to one), or use --backend wasm',
    'use --backend wasm',
  )
  kept.add(gpu)
  return opened
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
