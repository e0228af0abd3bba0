/** The engine's backend on this browser's GPU: the companion's shaders, unchanged. */

import type { Backend } from '../src/backend/backend.ts'
import { createWasmBackend } from '../src/backend/wasm/backend.ts'
import { createWebGpuBackend } from '../src/backend/webgpu/backend.ts'
import { deviceOf } from '../src/backend/webgpu/device.ts'
import type { WasmModules } from '../src/index.ts'

const advice = 'choose the processor'

/** `wasm`: builds of one thread. Throws `unsupported`. */
export async function openGpu(wasm: WasmModules): Promise<Backend> {
  const opened = await deviceOf(navigator.gpu, { withoutAdapter: advice, withoutDevice: advice })
  return createWebGpuBackend({ ...opened, host: await createWasmBackend({ modules: wasm }) })
}
