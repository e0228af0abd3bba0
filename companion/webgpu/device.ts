/** A device of a platform's WebGPU, with limits that large models need. */
import { ForetokenError } from '../../src/index.ts'

export interface OpenDevice {
  readonly device: GPUDevice
  /** Of the adapter: `apple metal-3`, `google swiftshader`. */
  readonly name: string
}

/** What of an adapter is asked for, so that large models fit: its own limits. */
const wanted = ['maxBufferSize', 'maxStorageBufferBindingSize'] as const

/** Throws `unsupported`, with what to do where there is no adapter, and where it gives no device. */
export async function deviceOf(gpu: GPU, withoutAdapter: string, withoutDevice: string): Promise<OpenDevice> {
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' })
  if (!adapter) throw new ForetokenError('unsupported', `no GPU adapter: ${withoutAdapter}`)
  const requiredLimits = Object.fromEntries(wanted.map((limit) => [limit, adapter.limits[limit]]))
  const device = await adapter.requestDevice({ requiredLimits }).catch((cause) => {
    throw new ForetokenError('unsupported', `the GPU adapter gives no device: ${cause.message}; ${withoutDevice}`, {
      cause,
    })
  })
  return { device, name: adapterName(adapter.info) }
}

export function adapterName({ vendor, architecture, device, description }: GPUAdapterInfo): string {
  return [vendor, architecture || device || description].filter(Boolean).join(' ').toLowerCase()
}
