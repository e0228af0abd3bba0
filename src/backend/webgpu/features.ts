/**
 * What a device can do beyond core WebGPU, and which kernels get by it:
 *
 *     shader-f16                              weights lie in workgroup memory as f16, half as large
 *     subgroups                               sums, maxima and the best of 64 threads without a tree of barriers
 *     chromium-experimental-subgroup-matrix   products of many rows by the device's matrix units
 *
 * Kernels without them are the oracle of those with.
 */

/** One product of a subgroup's matrix units: (m, k) times (k, n) of `from`, added up in f32. */
export interface MatrixUnit {
  readonly from: 'f16' | 'f32'
  readonly m: number
  readonly n: number
  readonly k: number
  /** Number of threads of a subgroup. */
  readonly lanes: number
}

export interface Features {
  readonly f16: boolean
  readonly subgroups: boolean
  readonly matrix?: MatrixUnit
}

export type FeatureName = keyof Features
export const featureNames: readonly FeatureName[] = ['f16', 'subgroups', 'matrix']

export const noFeatures: Features = { f16: false, subgroups: false }

/** A matrix configuration in `GPUAdapterInfo`, as Dawn has it beyond the standard's types. */
interface MatrixConfig {
  readonly componentType: string
  readonly resultComponentType: string
  readonly M: number
  readonly N: number
  readonly K: number
}
type Info = GPUAdapterInfo & {
  readonly subgroupMinSize?: number
  readonly subgroupMaxSize?: number
  readonly subgroupMatrixConfigs?: Iterable<MatrixConfig>
}

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

/** Rows, outputs and k that a subgroup works on between two barriers; a unit has to divide them. */
export const unitTile = { rows: 32, outputs: 32, k: 32 } as const

/**
 * Returns the largest unit that sums in f32. Units of f16 go before those of f32, which are slower.
 */
function matrixUnit(info: Info, f16: boolean): MatrixUnit | undefined {
  const lanes = lanesOf(info)
  if (lanes === undefined) return undefined
  const units = [...(info.subgroupMatrixConfigs ?? [])]
    .filter(({ componentType, resultComponentType, M, N, K }) => {
      const fits = unitTile.rows % M === 0 && unitTile.outputs % N === 0 && unitTile.k % K === 0
      return fits && resultComponentType === 'f32' && (componentType === 'f32' || (componentType === 'f16' && f16))
    })
    .map(({ componentType, M, N, K }) => ({ from: componentType as 'f16' | 'f32', m: M, n: N, k: K, lanes }))
  return units.sort((a, b) => a.from.localeCompare(b.from) || b.m * b.n * b.k - a.m * a.n * a.k)[0]
}

/**
 * Returns the threads of a subgroup if the number is fixed. Metal reports a range, and its GPUs
 * have 32.
 */
function lanesOf({ vendor, subgroupMinSize: least, subgroupMaxSize: most }: Info): number | undefined {
  if (vendor === 'apple') return 32
  return least === most && least !== undefined && [8, 16, 32, 64].includes(least) ? least : undefined
}
