/** Runs matrix products in the core, with activations quantised for weights that are. */
import { ForetokenError } from '../../base/errors.ts'
import { type Kernels, kinds } from './abi.ts'
import type { Arena } from './arena.ts'
import { finished, type WasmTensor } from './tensors.ts'
import type { WasmWeight } from './weights.ts'

export class Products {
  readonly #kernels: Kernels
  readonly #arena: Arena
  readonly #lowering: number
  /**
   * Addresses of quantised activations: int8 values, scales, sums; and how many values there is
   * room for.
   */
  #quantised = { q: 0, s: 0, sums: 0, elements: 0 }

  /** `lowering` is how the engine has the relaxed dot, as the core's probe found it. */
  constructor(kernels: Kernels, arena: Arena, lowering: number) {
    this.#kernels = kernels
    this.#arena = arena
    this.#lowering = lowering
  }

  /** Makes room for activations (tokens, maxK). Throws `out_of_memory`. */
  reserve(tokens: number, maxK: number): void {
    // A multiple of 512, so that scales and sums begin on a 64-byte boundary, too.
    const elements = Math.ceil((tokens * Math.ceil(maxK / 32)) / 16) * 512
    const before = this.#quantised
    if (elements <= before.elements) return
    // One region, so that there is none or all of it.
    const at = this.#arena.alloc(elements + elements / 4, 'tables')
    this.#quantised = { q: at, s: at + elements, sums: at + elements + elements / 8, elements }
    if (before.elements > 0) this.#arena.free(before.q)
  }

  /**
   * out (+)= x times each weight, side by side; quantises x once if any of them is quantised. `add`
   * is 1 to add.
   */
  run(out: WasmTensor, x: WasmTensor, weights: readonly WasmWeight[], rows: number, add: number): void {
    const { q, s, sums, elements } = this.#quantised
    const kernels = this.#kernels
    const k = x.cols
    let at = out.at
    let quantised = false
    for (const weight of weights) {
      const { kind, n } = weight
      if (weight.k !== k) throw new ForetokenError('internal', `a weight with k ${weight.k} meets x with ${k} columns`)
      const floats = kind === kinds.f32 || kind === kinds.f16 || kind === kinds.bf16
      if (!floats && !quantised) {
        if (rows * k > elements)
          throw new ForetokenError('internal', `${rows} x ${k} activations exceed the prepared ${elements}`)
        finished(kernels.quantize_q8(q, s, sums, x.at, x.stride, rows, k), 'quantize_q8')
        quantised = true
      }
      const status = floats
        ? kernels.gemm_f32(at, out.stride, x.at, x.stride, weight.at, rows, n, k, add, kind)
        : kind === kinds.u4
          ? kernels.gemm_u4(at, out.stride, q, s, sums, weight.at, rows, n, k, add, this.#lowering)
          : kernels.gemm_i8(at, out.stride, q, s, sums, weight.at, rows, n, k, add, kind, this.#lowering)
      finished(status, 'gemm')
      at += n * 4
    }
  }
}
