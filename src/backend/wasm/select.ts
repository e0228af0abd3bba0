/**
 * Which build of the core runs here. `relaxed` is used only after its dot product has given known answers on this
 * engine: `WebAssembly.validate` passes on engines whose relaxed dot is wrong (Node 20 returns doubled sums).
 */
import { ForetokenError } from '../../base/errors.ts'
import { type Kernels, kernelsOf } from './abi.ts'
import { Arena, mostWasmPages } from './arena.ts'

/** Compiled modules, as the platform could load them; an absent one is a build this platform can't run. */
export interface WasmModules {
  readonly simd128?: WebAssembly.Module
  readonly relaxed?: WebAssembly.Module
  readonly 'simd128-threads'?: WebAssembly.Module
  readonly 'relaxed-threads'?: WebAssembly.Module
}

export type Build = 'simd128' | 'relaxed'

/** What `probe` found, see `wasm/core/src/probe.rs`. */
const exactDot = 1
const unsignedSecond = 2
const signedSecond = 4

export interface Core {
  readonly build: Build
  readonly module: WebAssembly.Module
  readonly kernels: Kernels
  readonly arena: Arena
  /** How the relaxed dot reads a second operand of 128..255: 1 as unsigned, 2 as signed, 0 unknown. */
  readonly lowering: number
}

/** Instantiates the best build that answers its probe, or the one named. Throws `unsupported`. */
export async function selectCore(modules: WasmModules, want: Build | 'auto', threaded: boolean): Promise<Core> {
  const order: Build[] = want === 'auto' ? ['relaxed', 'simd128'] : [want]
  const tried: string[] = []
  for (const build of order) {
    const module = modules[threaded ? (`${build}-threads` as const) : build]
    if (!module) {
      tried.push(`${build}: no module`)
      continue
    }
    const core = await instantiate(module, build, threaded)
    const found = core.kernels.probe()
    if (build === 'simd128' || (found & exactDot) !== 0) return { ...core, lowering: lowering(found) }
    tried.push(`${build}: the relaxed dot product gives wrong sums on this engine (probe ${found})`)
  }
  throw new ForetokenError(
    'unsupported',
    `no build of the core runs here (${tried.join('; ')}); WebAssembly SIMD is needed`,
  )
}

function lowering(found: number): number {
  return (found & unsignedSecond) !== 0 ? 1 : (found & signedSecond) !== 0 ? 2 : 0
}

async function instantiate(module: WebAssembly.Module, build: Build, shared: boolean): Promise<Omit<Core, 'lowering'>> {
  const memory = new WebAssembly.Memory({ initial: 17, maximum: mostWasmPages, shared })
  const instance = await WebAssembly.instantiate(module, { env: { memory } })
  const kernels = kernelsOf(instance.exports)
  return { build, module, kernels, arena: new Arena(memory, Number(kernels.__heap_base.value)) }
}
