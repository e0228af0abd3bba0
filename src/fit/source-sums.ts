import type { Backend, Fitting, Moments, Tensor } from '../backend/backend.ts'
import { fittingOf } from '../backend/capabilities.ts'
import { at, defined } from '../base/at.ts'
import type { LinearMap } from '../predict/file.ts'
import { type PredictorHeader, stateWidth } from '../predict/header.ts'
import type { PlanSource } from '../predict/plan.ts'
import { type DocumentSums, onesOf } from './document-sums.ts'
import { quantized } from './quantize.ts'
import { Ridge } from './ridge.ts'

/**
 * The moments of one source: its inputs with themselves, and with the K and V or the states to
 * predict.
 */
export class SourceSums implements DocumentSums {
  readonly source: PlanSource
  readonly end: number
  readonly #backend: Backend
  readonly #fitting: Fitting
  readonly #xx: Moments
  readonly #x: Moments
  readonly #ones: Tensor
  readonly #layers = new Map<number, Target>()
  /** The run's exact inputs, and the states before the bridge. The bridge adds their difference. */
  readonly #after: Target | undefined
  readonly #before: Target | undefined
  #rows = 0

  constructor(backend: Backend, source: PlanSource, header: PredictorHeader) {
    const { hidden, kv_width } = header
    const fitting = fittingOf(backend)
    this.#backend = backend
    this.#fitting = fitting
    this.source = source
    this.end = source.run?.from ?? Math.max(-1, ...source.maps) + 1
    const k = (1 + source.taps) * stateWidth(header)
    const target = (n: number) => ({ xy: fitting.moments(k, n), y: fitting.moments(1, n) })
    this.#xx = fitting.moments(k, k)
    this.#x = fitting.moments(1, k)
    for (const layer of source.maps) this.#layers.set(layer, target(2 * kv_width))
    if (source.bridged) [this.#after, this.#before] = [target(hidden), target(hidden)]
    this.#ones = onesOf(backend)
  }

  addInput(input: Tensor, states: Tensor, rows: number): void {
    this.#rows += rows
    this.#fitting.add(this.#xx, input, input, rows)
    this.#fitting.add(this.#x, this.#ones, input, rows)
    if (this.#before) this.#add(this.#before, input, states, rows)
  }

  addLayer(layer: number, input: Tensor, kv: Tensor, from: number, rows: number): void {
    const target = this.#layers.get(layer)
    if (target) this.#add(target, input, this.#backend.rows(kv, from), rows)
  }

  addBridge(input: Tensor, states: Tensor, from: number, rows: number): void {
    if (this.#after) this.#add(this.#after, input, this.#backend.rows(states, from), rows)
  }

  async solve(lambda: number): Promise<Map<string, LinearMap>> {
    const read = (sums: Moments) => this.#fitting.read(sums)
    const ridge = new Ridge({ rows: this.#rows, xx: await read(this.#xx), x: await read(this.#x) }, lambda)
    const maps = new Map<string, LinearMap>()
    for (const [layer, { xy, y }] of this.#layers)
      maps.set(`layers.${layer}`, quantized(ridge.solve({ xy: await read(xy), y: await read(y) })))
    if (this.#after && this.#before) {
      const [xy, y] = [await read(this.#after.xy), await read(this.#after.y)]
      const before = { xy: await read(this.#before.xy), y: await read(this.#before.y) }
      const added = {
        xy: xy.map((value, i) => value - at(before.xy, i)),
        y: y.map((value, i) => value - at(before.y, i)),
      }
      maps.set(`bridges.${defined(this.source.run).from}`, quantized(ridge.solve(added)))
    }
    return maps
  }

  #add({ xy, y }: Target, input: Tensor, values: Tensor, rows: number): void {
    this.#fitting.add(xy, input, values, rows)
    this.#fitting.add(y, this.#ones, values, rows)
  }
}

interface Target {
  readonly xy: Moments
  readonly y: Moments
}
