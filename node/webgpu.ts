/** A WebGPU device in Node, by Dawn (the package `webgpu`, an optional peer): Metal on macOS, Vulkan on Linux, D3D12 on Windows. */

import type { Backend } from '../src/backend/backend.ts'
import { createWasmBackend } from '../src/backend/wasm/backend.ts'
import { createWebGpuBackend, type WebGpuOptions } from '../src/backend/webgpu/backend.ts'
import { deviceOf, type OpenDevice } from '../src/backend/webgpu/device.ts'
import { type FeatureName, featureNames } from '../src/backend/webgpu/features.ts'
import { ForetokenError } from '../src/index.ts'
import { loadWasm } from './index.ts'

/** A backend on this machine's GPU, with all of its features but `without` (default: $FORETOKEN_WEBGPU_WITHOUT). Throws `unsupported`. */
export async function openWebGpu(
  without: readonly FeatureName[] = unwanted(),
  options: Pick<WebGpuOptions, 'weightBytes'> = {},
): Promise<Backend> {
  const opened = await openDevice(without)
  const host = await createWasmBackend({ modules: await loadWasm('auto', 1) })
  return createWebGpuBackend({ ...opened, ...options, host })
}

/** Throws `unsupported`, with what to do, where there is no package, no adapter or no device. */
async function openDevice(without: readonly FeatureName[]): Promise<OpenDevice> {
  const { create } = await dawn()
  // Matrix units are an experiment of Dawn's, which it hides otherwise; no shader but this package's own runs.
  const gpu: GPU = create(['enable-dawn-features=allow_unsafe_apis'])
  const opened = await deviceOf(gpu, advice, without)
  kept.add(gpu)
  return opened
}

/** What $FORETOKEN_WEBGPU_WITHOUT names: for a driver that gets a feature wrong, and to see what one brings. */
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
