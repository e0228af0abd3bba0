/** Which matrix unit of a device multiplies: adapters as Dawn describes them. */
import { expect, test } from 'vitest'
import { matrixUnit } from '../../../src/backend/webgpu/matrix-unit.ts'

type Info = Parameters<typeof matrixUnit>[0]
const config = (componentType: string, resultComponentType: string, M: number, N = M, K = M) => ({
  componentType,
  resultComponentType,
  M,
  N,
  K,
})
/** Dawn's lists for Metal, and for Vulkan on a GPU with tensor cores. */
const metal = [config('f32', 'f32', 8), config('f16', 'f16', 8), config('f16', 'f32', 8)]
const vulkan = [
  config('f16', 'f32', 16),
  config('f16', 'f32', 16, 8, 16),
  config('f16', 'f16', 16),
  config('u8', 'u32', 16, 16, 32),
]
const info = (vendor: string, subgroupMatrixConfigs: readonly object[], least = 32, most = 32) =>
  ({ vendor, subgroupMinSize: least, subgroupMaxSize: most, subgroupMatrixConfigs }) as unknown as Info

test("Apple's units multiply f32, because f16 would take three products at the same rate", () => {
  expect(matrixUnit(info('apple', metal, 4, 64), true)).toEqual({ from: 'f32', m: 8, n: 8, k: 8, lanes: 32 })
})

test('other units multiply f16, and the largest that adds in f32', () => {
  expect(matrixUnit(info('nvidia', vulkan), true)).toEqual({ from: 'f16', m: 16, n: 16, k: 16, lanes: 32 })
  expect(matrixUnit(info('nvidia', metal), true)).toMatchObject({ from: 'f16' })
})

test('without f16 only units of f32 are left, and none without them', () => {
  expect(matrixUnit(info('nvidia', vulkan), false)).toBeUndefined()
  expect(matrixUnit(info('nvidia', metal), false)).toMatchObject({ from: 'f32' })
})

test('a unit whose shape does not divide the tile, and subgroups of changing size, are not used', () => {
  expect(matrixUnit(info('intel', [config('f16', 'f32', 8, 16, 16)], 8, 32), true)).toBeUndefined()
  expect(matrixUnit(info('amd', [config('f16', 'f32', 12)]), true)).toBeUndefined()
})
