/** Runs the Rust core with weights of any file in f32, so that its activations are f32, too. */
import type { Backend, WeightWriter } from '../../src/backend/backend.ts'
import { tensorBlocks } from '../../src/base/model.ts'
import { dequantize, written } from './blocks.ts'

/** Returns a backend that gets all weights in f32. */
export function inFloats(backend: Backend): Backend {
  return new Proxy(backend, {
    get(target, name) {
      if (name === 'weight') return (spec: Parameters<Backend['weight']>[0]) => floatWriter(target, spec)
      const value = Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

function floatWriter(backend: Backend, spec: Parameters<Backend['weight']>[0]): WeightWriter {
  if (spec.type === 'f32') return backend.weight(spec)
  const { elements, bytes: blockBytes } = tensorBlocks[spec.type]
  const bytes = new Uint8Array((spec.n * spec.k * blockBytes) / elements)
  let at = 0
  return {
    reserve: (count) => bytes.subarray(at, Math.min(bytes.length, at + count)),
    commit: (count) => {
      at += count
    },
    finish: () => {
      const floats = new Uint8Array(Float32Array.from(dequantize(spec.type, bytes)).buffer)
      return written(backend.weight({ ...spec, type: 'f32' }), floats)
    },
  }
}
