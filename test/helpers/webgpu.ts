/**
 * Creates WebGPU backends on Vulkan in software. Compiling a kernel of products takes seconds there,
 * and running it milliseconds, so all backends of a test file share one device and its kernels.
 */

import { loadWasm } from '../../node/wasm.ts'
import { openWebGpu } from '../../node/webgpu.ts'
import { vulkan } from '../../scripts/chromium.mjs'
import type { Backend } from '../../src/backend/backend.ts'
import { createWasmBackend } from '../../src/backend/wasm/backend.ts'
import { createWebGpuBackend } from '../../src/backend/webgpu/backend.ts'
import { deviceOf } from '../../src/backend/webgpu/device.ts'
import type { FeatureName } from '../../src/backend/webgpu/features.ts'

type Options = NonNullable<Parameters<typeof openWebGpu>[1]>

/** A backend as a program opens it, with a device of its own. */
export function ownSoftwareBackend(): Promise<Backend> {
  useSoftware()
  return openWebGpu([])
}

/** `without` lists device features that the kernels must not use. */
export async function softwareBackend(without: readonly FeatureName[] = [], options: Options = {}): Promise<Backend> {
  shared ??= openShared()
  const advice = { withoutAdapter: '', withoutDevice: '' }
  const opened = await deviceOf(gpuOf(await shared), advice, without)
  const host = await createWasmBackend({ modules: await loadWasm('auto', 1) })
  return createWebGpuBackend({ ...opened, ...options, host })
}

interface Shared {
  readonly gpu: GPU
  readonly adapter: GPUAdapter
  readonly device: GPUDevice
  /** By the text of their kernels. */
  readonly pipelines: Map<string, GPUComputePipeline>
}

let shared: Promise<Shared> | undefined

/** Opens a device with all features that kernels can use. */
async function openShared(): Promise<Shared> {
  useSoftware()
  // A literal name would make the package's types global to the whole program.
  const name: string = 'webgpu'
  const { create } = (await import(name)) as { create(options: string[]): GPU }
  const gpu = create(['enable-dawn-features=allow_unsafe_apis'])
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' })
  if (!adapter) throw new Error('no Vulkan in software')
  const { device } = await deviceOf(seen(gpu, { requestAdapter: async () => adapter }), {
    withoutAdapter: '',
    withoutDevice: '',
  })
  return { gpu, adapter, device, pipelines: new Map() }
}

/** The variable is read when the first instance is created. */
function useSoftware(): void {
  Object.assign(process.env, vulkan())
}

/** Returns an object of the host as it is, but for `own`. */
function seen<T extends object>(object: T, own: Partial<T>): T {
  return new Proxy(object, {
    get(_, name) {
      if (name in own) return own[name as keyof T]
      const value = object[name as keyof T]
      return typeof value === 'function' ? value.bind(object) : value
    },
  })
}

function gpuOf(all: Shared): GPU {
  const requestDevice = async (asked?: GPUDeviceDescriptor) => lent(all, [...(asked?.requiredFeatures ?? [])])
  return seen(all.gpu, { requestAdapter: async () => seen(all.adapter, { requestDevice }) })
}

/** What a kernel has to enable for a feature of a device. */
const enabled: Readonly<Record<string, string>> = {
  f16: 'shader-f16',
  subgroups: 'subgroups',
  chromium_experimental_subgroup_matrix: 'chromium-experimental-subgroup-matrix',
}

/**
 * Lends the device: kernels may enable only `features`, and the end of the loan destroys its
 * buffers.
 */
function lent({ device, pipelines }: Shared, features: readonly string[]): GPUDevice {
  const buffers: GPUBuffer[] = []
  const texts = new WeakMap<GPUShaderModule, string>()
  const listening: Parameters<GPUDevice['addEventListener']>[] = []
  return seen(device, {
    lost: new Promise(() => {}),
    createBuffer(asked) {
      const buffer = device.createBuffer(asked)
      buffers.push(buffer)
      return buffer
    },
    createShaderModule(asked) {
      for (const [, names = ''] of asked.code.matchAll(/^\s*enable ([\w\s,]+);/gm))
        for (const name of names.split(',').map((name) => name.trim()))
          if (!features.includes(enabled[name] ?? '')) throw new Error(`a kernel enables ${name} without the feature`)
      const module = device.createShaderModule(asked)
      texts.set(module, asked.code)
      return module
    },
    createComputePipeline(asked) {
      const text = texts.get(asked.compute.module)!
      const pipeline = pipelines.get(text) ?? device.createComputePipeline(asked)
      pipelines.set(text, pipeline)
      return pipeline
    },
    addEventListener(...event: Parameters<GPUDevice['addEventListener']>) {
      listening.push(event)
      device.addEventListener(...event)
    },
    destroy() {
      for (const [type, listener] of listening) device.removeEventListener(type, listener)
      for (const buffer of buffers) buffer.destroy()
    },
  } as Partial<GPUDevice>)
}
