/** The WebGPU backend with matrix units; `npm run check:matrix` runs it, on the one Vulkan in software that has them. */
import { describe, expect, test } from 'vitest'
import { openWebGpu } from '../../../node/webgpu.ts'
import { runBackendSuite } from '../../suites/backend.ts'

describe.runIf(process.env.FORETOKEN_MATRIX)('matrix units', () => {
  test('are available', async () => {
    const backend = await openWebGpu([])
    expect(backend.build).toMatch(/matrices \d+x\d+x\d+ f16/)
    await backend.close()
  })
  runBackendSuite('webgpu with matrix units', () => openWebGpu([]), { activations: 'f32' })
})
