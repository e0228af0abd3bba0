/** Opens the engine's backend on this browser's GPU, with the same shaders as the companion. */

import type { Backend } from '../src/backend/backend.ts'
import { createWasmBackend } from '../src/backend/wasm/backend.ts'
import { createWebGpuBackend } from '../src/backend/webgpu/backend.ts'
import { deviceOf } from '../src/backend/webgpu/device.ts'
import type { WasmModules } from '../src/index.ts'

const advice = 'choose the processor'

/** Opens the backend; `wasm` holds single-threaded builds. Rejects with `unsupported`. */
export async function openGpu(wasm: WasmModules): Promise<Backend> {
  const opened = await deviceOf(navigator.gpu, { withoutAdapter: advice, withoutDevice: advice })
  return createWebGpuBackend({ ...opened, host: await createWasmBackend({ modules: wasm }) })
}
