/**
 * Loads a predictor into a backend, beside its base model: linear maps from states to the K and V
 * of layers that are not run.
 */

import type { Backend, Tensor, Weight } from '../backend/backend.ts'
import { at, defined } from '../base/at.ts'
import { tensorBlocks } from '../base/model.ts'
import type { LinearMap, PredictorFile } from './file.ts'
import { type PredictorHeader, stateWidth } from './header.ts'
import { type PlanSource, sourcesOf } from './plan.ts'

/** A map in the kernels' layout. */
export interface LoadedMap {
  readonly weight: Weight
  readonly bias: Tensor
}

/** A source of the plan with its maps. */
export interface LoadedSource extends PlanSource {
  /** Factors on the normed state, (1, hidden). */
  readonly gain: Tensor
  /** Maps to K and V, (2 kvWidth), in the order of `maps`. */
  readonly kv: readonly LoadedMap[]
  /** Maps to the difference between the state and the run's input, (hidden). */
  readonly bridge: LoadedMap | undefined
}

export interface Predictor {
  readonly header: PredictorHeader
  readonly sources: readonly LoadedSource[]
}

export function loadPredictor(backend: Backend, { header, maps, gains }: PredictorFile): Predictor {
  const load = (name: string) => loadMap(backend, name, defined(maps.get(name)))
  const sources = sourcesOf(header.plan, header.layers).map((source, index) => ({
    ...source,
    gain: backend.vector(at(gains, index)),
    kv: source.maps.map((layer) => load(`layers.${layer}`)),
    bridge: source.bridged ? load(`bridges.${source.run?.from}`) : undefined,
  }))
  return { header, sources }
}

/**
 * Loads the bridges only. They carry predicted tokens to each source, which is all that fitting the
 * maps needs.
 */
export function loadBridges(backend: Backend, { header, maps, gains }: PredictorFile): Predictor {
  const sources = sourcesOf(header.plan, header.layers).map((source, index) => {
    const name = `bridges.${source.run?.from}`
    const bridge = maps.get(name)
    const gain = backend.vector(gains[index] ?? new Float32Array(stateWidth(header)).fill(1))
    return { ...source, maps: [], kv: [], gain, bridge: bridge && loadMap(backend, name, bridge) }
  })
  return { header, sources }
}

/** Loads int8 weights and their scales as Q8_0 blocks: a binary16 scale, then 32 weights. */
function loadMap(backend: Backend, name: string, { n, k, weight, scale, bias }: LinearMap): LoadedMap {
  const { elements, bytes } = tensorBlocks.q8_0
  const writer = backend.weight({ name, type: 'q8_0', n, k })
  const row = new Uint8Array((k / elements) * bytes)
  const view = new DataView(row.buffer)
  for (let output = 0; output < n; output++) {
    for (let from = 0, block = 0; from < k; from += elements, block++) {
      view.setUint16(block * bytes, defined(scale[(output * k) / elements + block]), true)
      row.set(new Uint8Array(weight.buffer, weight.byteOffset + output * k + from, elements), block * bytes + 2)
    }
    for (let done = 0; done < row.length; ) {
      const into = writer.reserve(row.length - done)
      into.set(row.subarray(done, done + into.length))
      writer.commit(into.length)
      done += into.length
    }
  }
  return { weight: writer.finish(), bias: backend.vector(bias) }
}
