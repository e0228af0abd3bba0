/** The WebGPU backend with f16, on the one Vulkan in software that has it; f16 halves a weight's place in a workgroup, not its precision. */
import { describe, expect, test } from 'vitest'
import { openWebGpu } from '../../../node/webgpu.ts'
import { lavapipe } from '../../../scripts/lavapipe.mjs'
import { runBackendSuite } from '../../suites/backend.ts'

const environment = lavapipe()
// Read when the first instance of Vulkan is made.
Object.assign(process.env, environment)

describe.runIf(environment)('lavapipe', () => {
  test('has f16', async () => {
    const backend = await openWebGpu([])
    expect(backend.build).toMatch(/mesa .*f16/)
    await backend.close()
  })
  runBackendSuite('webgpu with f16', () => openWebGpu([]), { activations: 'f32' })
})
