/** The rate that the fastest product of a build reaches in registers. */
import type { Bench } from '../backend.ts'
import type { Kernels } from './abi.ts'

/** `lowering` is how the engine has the relaxed dot, as the core's probe found it. */
export function wasmBench(kernels: Kernels, lowering: number): Bench {
  const timed = (iterations: number) => {
    const begun = performance.now()
    kernels.peak_dot(iterations, lowering)
    return performance.now() - begun
  }
  return {
    peak(ms) {
      let iterations = 1024
      while (timed(iterations) < 1) iterations *= 2
      iterations = Math.max(1, Math.round((iterations * ms) / timed(iterations)))
      return (iterations * kernels.peak_dot_ops() * 1000) / timed(iterations)
    },
  }
}
