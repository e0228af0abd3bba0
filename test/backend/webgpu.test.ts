/** The WebGPU backend on Vulkan in software, against the same oracle as the Wasm core: with subgroups, and without. */

import { softwareBackend } from '../helpers/webgpu.ts'
import { runBackendSuite } from '../suites/backend.ts'

runBackendSuite('webgpu', () => softwareBackend(['subgroups']), { activations: 'f32' })
runBackendSuite('webgpu with subgroups', () => softwareBackend(), { activations: 'f32' })
