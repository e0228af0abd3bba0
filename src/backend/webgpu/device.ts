/** Opens a device of a platform's WebGPU, with the limits that large models need. */
import { ForetokenError } from '../../base/errors.ts'
import { describeFeatures, type FeatureName, type Features, featuresOf, requiredFeatures } from './features.ts'

export interface OpenDevice {
  readonly device: GPUDevice
  /**
   * Name of the adapter with the features that the kernels use: `apple metal-3 (f16, subgroups)`,
   * `google swiftshader (subgroups)`.
   */
  readonly name: string
  readonly features: Features
}

/**
 * Limits that are requested as high as the adapter has them, so that large models and tiles fit.
 */
const wanted = ['maxBufferSize', 'maxStorageBufferBindingSize', 'maxComputeWorkgroupStorageSize'] as const

export interface Advice {
  /** Advice for error messages, when there is no adapter and when it gives no device. */
  readonly withoutAdapter: string
  readonly withoutDevice: string
}

/**
 * Requests a device with all features that the kernels can use, except `without`. Throws
 * `unsupported`.
 */
export async function deviceOf(
  gpu: GPU,
  { withoutAdapter, withoutDevice }: Advice,
  without: readonly FeatureName[] = [],
): Promise<OpenDevice> {
  const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' })
  if (!adapter) throw new ForetokenError('unsupported', `no GPU adapter: ${withoutAdapter}`)
  const requiredLimits = Object.fromEntries(wanted.map((limit) => [limit, adapter.limits[limit]]))
  const features = featuresOf(adapter, gpu.wgslLanguageFeatures, without)
  const asked = { requiredLimits, requiredFeatures: requiredFeatures(features) }
  const device = await adapter.requestDevice(asked).catch((cause) => {
    throw new ForetokenError('unsupported', `the GPU adapter gives no device: ${cause.message}; ${withoutDevice}`, {
      cause,
    })
  })
  const used = describeFeatures(features)
  return { device, name: adapterName(adapter.info) + (used && ` (${used})`), features }
}

export function adapterName({ vendor, architecture, device, description }: GPUAdapterInfo): string {
  return [vendor, architecture || device || description].filter(Boolean).join(' ').toLowerCase()
}
