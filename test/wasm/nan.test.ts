/**
 * A NaN is never lost in the built modules. Compilers and engines may choose for relaxed minima and maxima which operand they drop,
 * and a lost NaN would turn a failed forward pass into a token.
 */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { kernelsOf } from '../../src/backend/wasm/abi.ts'

test.each(['simd128', 'relaxed', 'simd128-threads', 'relaxed-threads'])('%s', (form) => {
  const module = new WebAssembly.Module(readFileSync(new URL(`../../wasm/dist/${form}.wasm`, import.meta.url)))
  const memory = new WebAssembly.Memory({ initial: 32, maximum: 65_536, shared: form.endsWith('-threads') })
  const kernels = kernelsOf(new WebAssembly.Instance(module, { env: { memory } }).exports)
  const [floats, doubles] = [new Float32Array(memory.buffer), new Float64Array(memory.buffer)]
  const [x, y, out] = [1_200_000, 1_210_000, 1_220_000]
  const count = 70
  const ones = new Float32Array(count).fill(1)
  for (const at of [0, 1, 2, 3, 40, 65, count - 1]) {
    floats.set(ones, x / 4)
    floats.set(ones, y / 4)
    floats[x / 4 + at] = Number.NaN
    for (const kind of [0, 1]) {
      expect(kernels.activation(out, count, x, count, y, count, count, 1, kind)).toBe(0)
      const got = floats.subarray(out / 4, out / 4 + count)
      expect([...got.keys()].filter((i) => Number.isNaN(got[i]))).toEqual([at])
    }
    expect(kernels.best_of_rows(out, x, count, count, 3, 1)).toBe(0)
    expect(doubles[out / 8]).toBeNaN()
  }
})
