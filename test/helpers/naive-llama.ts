/**
 * Computes a llama in f64 and plain loops, one position after the other, with predicted prefill by
 * its definition.
 */

import type { ModelFiles } from '../../src/base/bytes.ts'
import type { ModelConfig } from '../../src/base/model.ts'
import { openModel } from '../../src/model/open.ts'
import type { LinearMap, PredictorFile } from '../../src/predict/file.ts'
import type { SeparatePlan, SharedPlan } from '../../src/predict/plan.ts'

type Vector = number[]

export class NaiveLlama {
  readonly config: ModelConfig
  readonly #weights: ReadonlyMap<string, { values: Float32Array; cols: number }>

  static async load(files: ModelFiles): Promise<NaiveLlama> {
    const archive = await openModel(files)
    const weights = new Map<string, { values: Float32Array; cols: number }>()
    for (const [name, { source, offset, bytes, cols, type }] of archive.tensors) {
      if (type !== 'f32') throw new Error('only f32')
      const raw = new Uint8Array(bytes)
      await source.read(offset, raw)
      weights.set(name, { values: new Float32Array(raw.buffer), cols })
    }
    return new NaiveLlama(archive.config, weights)
  }

  private constructor(config: ModelConfig, weights: NaiveLlama['_weights']) {
    this.config = config
    this.#weights = weights
  }

  declare readonly _weights: ReadonlyMap<string, { values: Float32Array; cols: number }>

  /**
   * Returns logits after the last of `ids`; positions from `sinks` to before `until` are predicted.
   */
  logits(ids: readonly number[], prediction?: { file: PredictorFile; until: number; auxiliary?: NaiveLlama }): Vector {
    const { layers, rmsEps } = this.config
    const x = ids.map((id) => this.#row('embed', id))
    const keys: Vector[][] = Array.from({ length: layers }, () => [])
    const values: Vector[][] = Array.from({ length: layers }, () => [])
    const all = ids.map((_, t) => t)
    const write = (layer: number, t: number, kv: Vector) => {
      const width = kv.length / 2
      keys[layer]![t] = this.#turned(kv.slice(0, width), t)
      values[layer]![t] = kv.slice(width)
    }
    const run = (from: number, to: number, positions: readonly number[]) => {
      for (let layer = from; layer < to; layer++) {
        for (const t of positions) this.#write(layer, x[t]!, t, keys[layer]!, values[layer]!)
        for (const t of positions) x[t] = this.#layer(layer, x[t]!, t, keys[layer]!, values[layer]!)
      }
    }
    if (!prediction) run(0, layers, all)
    else if (prediction.file.header.plan.kind === 'separate') {
      const { header, maps, gains } = prediction.file
      const { map, sinks } = header.plan as SeparatePlan
      const states = prediction.auxiliary!.states(ids)
      const middle = all.filter((t) => t >= sinks && t < prediction.until)
      const sources = [...new Set(map)]
      map.forEach((at, layer) => {
        const gain = gains[sources.indexOf(at)]!
        for (const t of middle) {
          const input = scaled(states[at]![t]!, rmsEps).map((value, i) => value * gain[i]!)
          write(layer, t, apply(maps.get(`layers.${layer}`)!, input))
        }
      })
      run(
        0,
        layers,
        all.filter((t) => !middle.includes(t)),
      )
    } else {
      const { header, maps, gains } = prediction.file
      const { shared, runs, taps, sinks } = header.plan as SharedPlan
      const middle = all.filter((t) => t >= sinks && t < prediction.until)
      const exact = all.filter((t) => !middle.includes(t))
      run(0, shared, all)
      for (const t of middle) this.#write(shared, x[t]!, t, keys[shared]!, values[shared]!)
      let at = shared
      for (let source = 0; source <= runs.length; source++) {
        const states = x.map((one) => scaled(one, rmsEps).map((value, i) => value * gains[source]![i]!))
        const inputs = new Map(
          middle.map((t) => [
            t,
            Array.from({ length: taps[source]! + 1 }, (_, j) => states[t - j] ?? states[0]!.map(() => 0)).flat(),
          ]),
        )
        const end = runs[source]?.from ?? layers
        for (let layer = source === 0 ? at + 1 : at; layer < end; layer++)
          for (const t of middle) {
            write(layer, t, apply(maps.get(`layers.${layer}`)!, inputs.get(t)!))
          }
        run(at, end, exact)
        const next = runs[source]
        if (!next) break
        for (const t of middle) x[t] = sum(x[t]!, apply(maps.get(`bridges.${next.from}`)!, inputs.get(t)!))
        run(next.from, next.to, all)
        at = next.to
      }
    }
    return this.#scores(x)
  }

  #scores(x: readonly Vector[]): Vector {
    const last = this.#norm('norm', x.at(-1)!)
    return Array.from({ length: this.config.vocab }, (_, id) => dot(this.#row('embed', id), last))
  }

  /**
   * Returns logits after the last of `ids` by POP: positions from `sinks` to before `until` skip the
   * layers from `from` on, which make K and V of the state that these positions had before them.
   */
  skippedLogits(
    ids: readonly number[],
    { from, sinks, until }: { from: number; sinks: number; until: number },
  ): Vector {
    const x = ids.map((id) => this.#row('embed', id))
    for (let layer = 0; layer < this.config.layers; layer++) {
      const [keys, values]: [Vector[], Vector[]] = [[], []]
      for (const [t, one] of x.entries()) this.#write(layer, one, t, keys, values)
      const ran = x.map((one, t) =>
        layer >= from && t >= sinks && t < until ? one : this.#layer(layer, one, t, keys, values),
      )
      for (const [t, one] of ran.entries()) x[t] = one
    }
    return this.#scores(x)
  }

  /** Input of each layer at each position, and last the output of the last layer. */
  states(ids: readonly number[]): Vector[][] {
    let x = ids.map((id) => this.#row('embed', id))
    const found = [x]
    for (let layer = 0; layer < this.config.layers; layer++) {
      const [keys, values]: [Vector[], Vector[]] = [[], []]
      for (const [t, one] of x.entries()) this.#write(layer, one, t, keys, values)
      x = x.map((one, t) => this.#layer(layer, one, t, keys, values))
      found.push(x)
    }
    return found
  }

  #write(layer: number, x: Vector, t: number, keys: Vector[], values: Vector[]): void {
    const normed = this.#norm(`layers.${layer}.attnNorm`, x)
    keys[t] = this.#turned(this.#times(`layers.${layer}.k`, normed), t)
    values[t] = this.#times(`layers.${layer}.v`, normed)
  }

  #layer(layer: number, x: Vector, t: number, keys: readonly Vector[], values: readonly Vector[]): Vector {
    const { heads, kvHeads, headDim } = this.config
    const q = this.#turned(this.#times(`layers.${layer}.q`, this.#norm(`layers.${layer}.attnNorm`, x)), t)
    const attended: Vector = []
    for (let head = 0; head < heads; head++) {
      const kv = Math.floor((head * kvHeads) / heads) * headDim
      const query = q.slice(head * headDim, (head + 1) * headDim)
      const scores = keys.slice(0, t + 1).map((key) => dot(query, key.slice(kv, kv + headDim)) / Math.sqrt(headDim))
      const top = Math.max(...scores)
      const weights = scores.map((score) => Math.exp(score - top))
      const total = weights.reduce((a, b) => a + b, 0)
      for (let d = 0; d < headDim; d++)
        attended.push(weights.reduce((a, weight, s) => a + (weight / total) * values[s]![kv + d]!, 0))
    }
    const mid = sum(x, this.#times(`layers.${layer}.o`, attended))
    const normed = this.#norm(`layers.${layer}.ffnNorm`, mid)
    const up = this.#times(`layers.${layer}.up`, normed)
    const gate = this.#times(`layers.${layer}.gate`, normed).map((g, i) => (g / (1 + Math.exp(-g))) * up[i]!)
    return sum(mid, this.#times(`layers.${layer}.down`, gate))
  }

  #turned(x: Vector, t: number): Vector {
    const { headDim, ropeTheta, ropePairs } = this.config
    const half = headDim / 2
    const out = [...x]
    for (let head = 0; head < x.length; head += headDim)
      for (let f = 0; f < half; f++) {
        const angle = t * ropeTheta ** ((-2 * f) / headDim)
        const [i, j] = ropePairs === 'half' ? [head + f, head + f + half] : [head + 2 * f, head + 2 * f + 1]
        out[i] = x[i]! * Math.cos(angle) - x[j]! * Math.sin(angle)
        out[j] = x[i]! * Math.sin(angle) + x[j]! * Math.cos(angle)
      }
    return out
  }

  #norm(name: string, x: Vector): Vector {
    const { values } = this.#weights.get(name)!
    return scaled(x, this.config.rmsEps).map((value, i) => value * values[i]!)
  }

  #row(name: string, row: number): Vector {
    const { values, cols } = this.#weights.get(name)!
    return [...values.subarray(row * cols, (row + 1) * cols)]
  }

  #times(name: string, x: Vector): Vector {
    const { values, cols } = this.#weights.get(name)!
    return Array.from({ length: values.length / cols }, (_, n) => {
      let total = 0
      for (let i = 0; i < cols; i++) total += values[n * cols + i]! * x[i]!
      return total
    })
  }
}

function apply({ n, k, weight, scale, bias }: LinearMap, input: Vector): Vector {
  return Array.from({ length: n }, (_, row) => {
    let total = bias[row]!
    for (let i = 0; i < k; i++) total += weight[row * k + i]! * half(scale[(row * k + i) >> 5]!) * input[i]!
    return total
  })
}

/** Decodes a normal binary16. */
function half(bits: number): number {
  return (1 + (bits & 1023) / 1024) * 2 ** (((bits >> 10) & 31) - 15)
}

function scaled(x: Vector, eps: number): Vector {
  const size = Math.sqrt(dot(x, x) / x.length + eps)
  return x.map((value) => value / size)
}

function dot(a: Vector, b: Vector): number {
  let total = 0
  for (let i = 0; i < a.length; i++) total += a[i]! * b[i]!
  return total
}

function sum(a: Vector, b: Vector): Vector {
  return a.map((value, i) => value + b[i]!)
}
