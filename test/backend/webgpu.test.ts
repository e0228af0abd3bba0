/** The WebGPU backend on Vulkan in software, against the same oracle as the Wasm core. */

import { softwareBackend } from '../helpers/webgpu.ts'
import { runBackendSuite } from '../suites/backend.ts'

runBackendSuite('webgpu', softwareBackend, { activations: 'f32' })
