/**
 * What a device can do beyond core WebGPU, and which kernels get by it:
 *
 *     shader-f16                              weights lie in workgroup memory as f16, half as large
 *     subgroups                               sums, maxima and the best of 64 threads without a tree of barriers
 *     chromium-experimental-subgroup-matrix   products of many rows by the device's matrix units
 *
 * Kernels without them are the oracle of those with.
 */
import { type MatrixUnit, matrixUnit } from './matrix-unit.ts'

export interface Features {
  readonly f16: boolean
  readonly subgroups: boolean
  readonly matrix?: MatrixUnit
}

export type FeatureName = keyof Features
export const featureNames: readonly FeatureName[] = ['f16', 'subgroups', 'matrix']

export const noFeatures: Features = { f16: false, subgroups: false }

const matrixFeature = 'chromium-experimental-subgroup-matrix'

/** Returns the features of an adapter that the kernels use, without those in `without`. */
export function featuresOf(
  adapter: Pick<GPUAdapter, 'features' | 'info'>,
  language: Pick<WGSLLanguageFeatures, 'has'> | undefined,
  without: readonly FeatureName[] = [],
): Features {
  const wanted = (name: FeatureName) => !without.includes(name)
  const f16 = wanted('f16') && adapter.features.has('shader-f16')
  // A subgroup's number of its workgroup is a later addition.
  const subgroups = wanted('subgroups') && adapter.features.has('subgroups') && language?.has('subgroup_id') === true
  const matrices = wanted('matrix') && subgroups && adapter.features.has(matrixFeature)
  const matrix = matrices ? matrixUnit(adapter.info, f16) : undefined
  return { f16, subgroups, ...(matrix && { matrix }) }
}

/** Returns the names of the features that a device is requested with. */
export function requiredFeatures({ f16, subgroups, matrix }: Features): GPUFeatureName[] {
  const names = [f16 && 'shader-f16', subgroups && 'subgroups', matrix && matrixFeature]
  return names.filter((name) => name !== false && name !== undefined) as GPUFeatureName[]
}

/** Describes features: `f16, subgroups, matrices 16x16x16 f16`; an empty text for none. */
export function describeFeatures({ f16, subgroups, matrix }: Features): string {
  const unit = matrix && `matrices ${matrix.m}x${matrix.n}x${matrix.k} ${matrix.from}`
  return [f16 && 'f16', subgroups && 'subgroups', unit].filter(Boolean).join(', ')
}
