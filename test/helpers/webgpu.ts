/** A WebGPU backend on Vulkan in software. */
import { openWebGpu } from '../../companion/webgpu/node.ts'
import { vulkan } from '../../scripts/chromium.mjs'
import type { Backend } from '../../src/backend/backend.ts'

export function softwareBackend(): Promise<Backend> {
  // Read when the first instance is made.
  Object.assign(process.env, vulkan())
  return openWebGpu()
}
