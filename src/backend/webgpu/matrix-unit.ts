/** Chooses the matrix unit of a device: the shape of product that a subgroup's hardware has. */

/** One product of a subgroup's matrix units: (m, k) times (k, n) of `from`, added up in f32. */
export interface MatrixUnit {
  readonly from: 'f16' | 'f32'
  readonly m: number
  readonly n: number
  readonly k: number
  /** Number of threads of a subgroup. */
  readonly lanes: number
}

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

/** Rows, outputs and k that a subgroup works on between two barriers; a unit has to divide them. */
export const unitTile = { rows: 32, outputs: 32, k: 32 } as const

/**
 * Returns the largest unit that sums in f32. A product in f16 takes three of the unit's, because x
 * and weights are two f16 each (shaders/matrix.ts). That pays where f16 units are many times faster
 * than those of f32, but not on Apple's GPUs, whose units multiply both at one rate.
 */
export function matrixUnit(info: Info, f16: boolean): MatrixUnit | undefined {
  const lanes = lanesOf(info)
  if (lanes === undefined) return undefined
  const preferred = info.vendor === 'apple' ? 'f32' : 'f16'
  const units = [...(info.subgroupMatrixConfigs ?? [])]
    .filter(({ componentType, resultComponentType, M, N, K }) => {
      const fits = unitTile.rows % M === 0 && unitTile.outputs % N === 0 && unitTile.k % K === 0
      return fits && resultComponentType === 'f32' && (componentType === 'f32' || (componentType === 'f16' && f16))
    })
    .map(({ componentType, M, N, K }) => ({ from: componentType as 'f16' | 'f32', m: M, n: N, k: K, lanes }))
  const later = ({ from }: MatrixUnit) => Number(from !== preferred)
  return units.sort((a, b) => later(a) - later(b) || b.m * b.n * b.k - a.m * a.n * a.k)[0]
}

/**
 * Returns the threads of a subgroup if the number is fixed. Metal reports a range, and its GPUs
 * have 32.
 */
function lanesOf({ vendor, subgroupMinSize: least, subgroupMaxSize: most }: Info): number | undefined {
  if (vendor === 'apple') return 32
  return least === most && least !== undefined && [8, 16, 32, 64].includes(least) ? least : undefined
}
