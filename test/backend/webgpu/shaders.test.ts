/** Dawn takes every kernel, also those for devices that none of these machines has: it compiles them for a device that does not exist. */

import { afterAll, describe, expect, test } from 'vitest'
import { create } from 'webgpu'
import { type Features, requiredFeatures } from '../../../src/backend/webgpu/features.ts'
import type { MatrixUnit } from '../../../src/backend/webgpu/matrix-unit.ts'
import { kernels, shader } from '../../../src/backend/webgpu/shaders/index.ts'

const gpu = create(['backend=null', 'enable-dawn-features=allow_unsafe_apis'])
const open: GPUDevice[] = []
afterAll(() => {
  for (const device of open) device.destroy()
})

async function nothing(features: Features): Promise<GPUDevice> {
  const adapter = (await gpu.requestAdapter())!
  const { maxComputeWorkgroupStorageSize } = adapter.limits
  const device = await adapter.requestDevice({
    requiredFeatures: requiredFeatures(features),
    requiredLimits: { maxComputeWorkgroupStorageSize },
  })
  open.push(device)
  return device
}

async function complaint(device: GPUDevice, code: string): Promise<string | undefined> {
  device.pushErrorScope('validation')
  const module = device.createShaderModule({ code })
  await device.createComputePipelineAsync({ layout: 'auto', compute: { module } }).catch(() => undefined)
  return (await device.popErrorScope())?.message
}

const unit = (from: 'f16' | 'f32', m: number, n: number, k: number, lanes: number): MatrixUnit => ({
  from,
  m,
  n,
  k,
  lanes,
})
describe.each<[string, Features]>([
  ['core WebGPU', { f16: false, subgroups: false }],
  ['f16', { f16: true, subgroups: false }],
  ['subgroups', { f16: false, subgroups: true }],
  ["f16 units of 16x16x16, a Vulkan GPU's", { f16: true, subgroups: true, matrix: unit('f16', 16, 16, 16, 32) }],
  ['f16 units of 16x8x16 in subgroups of 64', { f16: true, subgroups: true, matrix: unit('f16', 16, 8, 16, 64) }],
  ["f16 units of 8x8x8, Metal's", { f16: true, subgroups: true, matrix: unit('f16', 8, 8, 8, 32) }],
  ["f32 units of 8x8x8, Metal's", { f16: false, subgroups: true, matrix: unit('f32', 8, 8, 8, 32) }],
])('%s', (_, features) => {
  test.each(kernels(features))('%s', async (kernel) => {
    expect(await complaint(await nothing(features), shader(kernel, features))).toBeUndefined()
  })
})

test('a faulty kernel is detected', async () => {
  const device = await nothing({ f16: false, subgroups: false })
  const broken = shader('norm', { f16: false, subgroups: false }).replace('fn main', 'fn main_but_wrong(x: i33')
  expect(await complaint(device, broken)).toBeDefined()
})
