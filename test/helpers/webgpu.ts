/** A WebGPU backend on Vulkan in software. */

import { openWebGpu } from '../../node/webgpu.ts'
import { vulkan } from '../../scripts/chromium.mjs'
import type { Backend } from '../../src/backend/backend.ts'
import type { FeatureName } from '../../src/backend/webgpu/features.ts'

/** `without`: features that the device has and the kernels are not to use. */
export function softwareBackend(
  without: readonly FeatureName[] = [],
  options?: Parameters<typeof openWebGpu>[1],
): Promise<Backend> {
  // Read when the first instance is made.
  Object.assign(process.env, vulkan())
  return openWebGpu(without, options)
}
