/** WebGPU on Vulkan in software. */

import type { FeatureName } from '../../companion/webgpu/features.ts'
import { openDevice, openWebGpu } from '../../companion/webgpu/node.ts'
import { vulkan } from '../../scripts/chromium.mjs'
import type { Backend } from '../../src/backend/backend.ts'

/** `without`: features that the device has and the kernels are not to use. */
export function softwareBackend(without: readonly FeatureName[] = []): Promise<Backend> {
  inSoftware()
  return openWebGpu(without)
}

export function softwareDevice(): ReturnType<typeof openDevice> {
  inSoftware()
  return openDevice()
}

/** Read when the first instance of Vulkan is made. */
function inSoftware() {
  Object.assign(process.env, vulkan())
}
