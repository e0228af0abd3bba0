/** Creates a WebGPU backend on Vulkan in software. */

import { openWebGpu } from '../../node/webgpu.ts'
import { vulkan } from '../../scripts/chromium.mjs'
import type { Backend } from '../../src/backend/backend.ts'
import type { FeatureName } from '../../src/backend/webgpu/features.ts'

/** `without` lists device features that the kernels must not use. */
export function softwareBackend(
  without: readonly FeatureName[] = [],
  options?: Parameters<typeof openWebGpu>[1],
): Promise<Backend> {
  // The variable is read when the first instance is created.
  Object.assign(process.env, vulkan())
  return openWebGpu(without, options)
}
