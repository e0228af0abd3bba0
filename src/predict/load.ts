/** A predictor in a backend, beside its base model: linear maps from states to the K and V of layers that are not run. */
import type { Backend, Tensor, Weight } from '../backend/backend.ts'
import { tensorBlocks } from '../base/model.ts'
import type { LinearMap, PredictorFile } from './file.ts'
import { type PlanSource, type PredictorHeader, sourcesOf, stateWidth } from './plan.ts'

/** A map, laid out for the kernels. */
export interface LoadedMap {
  readonly weight: Weight
  readonly bias: Tensor
}

/** A source of the plan with its maps. */
export interface LoadedSource extends PlanSource {
  /** Of the normed state, (1, hidden). */
  readonly gain: Tensor
  /** To K and V, (2 kvWidth), in the order of `maps`. */
  readonly kv: readonly LoadedMap[]
  /** To what is added for the run's input, (hidden). */
  readonly bridge: LoadedMap | undefined
}

export interface Predictor {
  readonly header: PredictorHeader
  readonly sources: readonly LoadedSource[]
}

export function loadPredictor(backend: Backend, { header, maps, gains }: PredictorFile): Predictor {
  const load = (name: string) => loadMap(backend, name, maps.get(name)!)
  const sources = sourcesOf(header.plan, header.layers).map((source, index) => ({
    ...source,
    gain: backend.vector(gains[index]!),
    kv: source.maps.map((layer) => load(`layers.${layer}`)),
    bridge: source.run && load(`bridges.${source.run.from}`),
  }))
  return { header, sources }
}

/** A predictor with no maps but bridges: enough to walk predicted tokens to each source, which is what fitting the maps takes. */
export function loadBridges(backend: Backend, { header, maps, gains }: PredictorFile): Predictor {
  const sources = sourcesOf(header.plan, header.layers).map((source, index) => {
    const bridge = source.run && maps.get(`bridges.${source.run.from}`)
    const gain = backend.vector(gains[index] ?? new Float32Array(stateWidth(header)).fill(1))
    return {
      ...source,
      maps: [],
      kv: [],
      gain,
      bridge: bridge && loadMap(backend, `bridges.${source.run!.from}`, bridge),
    }
  })
  return { header, sources }
}

/** int8 weights and their scales go in as Q8_0 blocks: a binary16 scale, then 32 weights. */
function loadMap(backend: Backend, name: string, { n, k, weight, scale, bias }: LinearMap): LoadedMap {
  const { elements, bytes } = tensorBlocks.q8_0
  const writer = backend.weight({ name, type: 'q8_0', n, k })
  const row = new Uint8Array((k / elements) * bytes)
  const view = new DataView(row.buffer)
  for (let output = 0; output < n; output++) {
    for (let at = 0, block = 0; at < k; at += elements, block++) {
      view.setUint16(block * bytes, scale[(output * k) / elements + block]!, true)
      row.set(new Uint8Array(weight.buffer, weight.byteOffset + output * k + at, elements), block * bytes + 2)
    }
    for (let at = 0; at < row.length; ) {
      const into = writer.reserve(row.length - at)
      into.set(row.subarray(at, at + into.length))
      writer.commit(into.length)
      at += into.length
    }
  }
  return { weight: writer.finish(), bias: backend.vector(bias) }
}
