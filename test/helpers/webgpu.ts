/** A WebGPU backend on Vulkan in software. */

import { createWebGpuBackend } from '../../companion/webgpu/backend.ts'
import { openDevice } from '../../companion/webgpu/node.ts'
import { loadWasm } from '../../node/wasm.ts'
import { vulkan } from '../../scripts/chromium.mjs'
import type { Backend } from '../../src/backend/backend.ts'
import { createWasmBackend } from '../../src/backend/wasm.ts'

export async function softwareBackend(): Promise<Backend> {
  // Read when the first instance is made.
  Object.assign(process.env, vulkan())
  const host = await createWasmBackend({ modules: await loadWasm('auto', 1) })
  return createWebGpuBackend({ ...(await openDevice()), host })
}
