/**
 * Opens a WebGPU device in Node with Dawn (the package `webgpu`, an optional peer): Metal on macOS,
 * Vulkan on Linux, D3D12 on Windows.
 */

import type { Backend } from '../src/backend/backend.ts'
import { createWasmBackend } from '../src/backend/wasm/backend.ts'
import { createWebGpuBackend, type WebGpuOptions } from '../src/backend/webgpu/backend.ts'
import { deviceOf, type OpenDevice } from '../src/backend/webgpu/device.ts'
import { type FeatureName, featureNames } from '../src/backend/webgpu/features.ts'
import { ForetokenError } from '../src/index.ts'
import { loadWasm } from './index.ts'

/**
 * Opens a backend on this machine's GPU, with all of its features except `without` (default:
 * $FORETOKEN_WEBGPU_WITHOUT). Throws `unsupported`.
 */
export async function openWebGpu(
  without: readonly FeatureName[] = unwanted(),
  options: Pick<WebGpuOptions, 'weightBytes'> = {},
): Promise<Backend> {
  const opened = await openDevice(without)
  const host = await createWasmBackend({ modules: await loadWasm('auto', 1) })
  return createWebGpuBackend({ ...opened, ...options, host })
}

/** Throws `unsupported`, with advice, if there is no package, no adapter or no device. */
async function openDevice(without: readonly FeatureName[]): Promise<OpenDevice> {
  const { create } = await dawn()
  // Dawn hides matrix units unless asked, as they are experimental. Only shaders of this package
  // run on the device.
  const gpu: GPU = create(['enable-dawn-features=allow_unsafe_apis'])
  const opened = await deviceOf(gpu, advice, without)
  kept.add(gpu)
  return opened
}

/**
 * Returns the features that $FORETOKEN_WEBGPU_WITHOUT names, for a driver with a faulty feature,
 * and for measuring what a feature brings.
 */
function unwanted(): FeatureName[] {
  const named = (process.env.FORETOKEN_WEBGPU_WITHOUT ?? '').split(',').map((name) => name.trim())
  return featureNames.filter((name) => named.includes(name))
}

const advice = {
  withoutAdapter: 'install a Vulkan driver (or set VK_ICD_FILENAMES to one), or use --backend wasm',
  withoutDevice: 'use --backend wasm',
}

/** The instance must outlive its devices. */
const kept = new Set<GPU>()

async function dawn(): Promise<{ create(options: string[]): GPU }> {
  // A literal name would make the package's types global to the whole program.
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
