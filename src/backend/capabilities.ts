/** Checks what a backend can do, and refuses by name what it cannot. */
import { ForetokenError } from '../base/errors.ts'
import type { KvCodec } from '../base/kv-codec.ts'
import type { Backend, Fitting } from './backend.ts'

/** Returns the backend's sums for fitting predictors. Throws `unsupported` if it has none. */
export function fittingOf({ build, fitting }: Pick<Backend, 'build' | 'fitting'>): Fitting {
  if (fitting) return fitting
  throw new ForetokenError(
    'unsupported',
    `fitting sums products in f64, which ${build} does not: fit on the wasm backend`,
  )
}

/**
 * Returns the backend's codec of the wire. For a backend without one, returns a codec that throws
 * `unsupported`.
 */
export function wireOf({ build, wire }: Pick<Backend, 'build' | 'wire'>): KvCodec {
  if (wire) return wire
  const refuse = () => new ForetokenError('unsupported', `${build} can't send or receive K and V: use the wasm backend`)
  return {
    kvBytes() {
      throw refuse()
    },
    encodeKv: () => Promise.reject(refuse()),
    decodeKv: () => Promise.reject(refuse()),
  }
}
