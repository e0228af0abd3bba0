/** What a predictor computes: which tokens run through which layers, and what its maps read. */
import { defined } from '../base/at.ts'

/** Layers `from`..`to` - 1, which predicted tokens run through on bridged states. */
export interface LayerRange {
  readonly from: number
  readonly to: number
  /**
   * If false, predicted tokens run only the attention of these layers. It looks at other positions,
   * which no map can stand in for; the next bridge or map stands in for their MLPs, which do not
   * and cost three times as much. Default true.
   */
  readonly mlp?: boolean
}

/** The tokens of a prompt that run through all layers of the base, in any kind of plan. */
interface ExactEnds {
  /** Number of tokens in front. */
  readonly sinks: number
  /** Minimum number of tokens at the end; see `windowOf`. */
  readonly window: number
  /** The same as a share of the tokens that are prefilled, below 1. Default 0. */
  readonly windowShare?: number
  /** Maximum number of tokens that the share may come to. Default: no maximum. */
  readonly windowMost?: number
}

/**
 * A plan in which predicted tokens run through the base model's own first layers: 0..shared - 1
 * exactly, and layer `shared` has its exact K and V, too. From there they jump to the runs, by one
 * linear bridge each. In the layers between, K and V are linear maps of the state before the jump.
 * The first run may begin at layer `shared` itself, if it leaves out the MLPs.
 */
export interface SharedPlan extends ExactEnds {
  readonly kind: 'shared'
  readonly shared: number
  readonly runs: readonly LayerRange[]
  /**
   * For each source, the shared state and then the end of each run: how many earlier positions are
   * inputs beside a token's own.
   */
  readonly taps: readonly number[]
}

/**
 * A plan in which predicted tokens run through another, smaller model. All K and V are linear maps
 * of its states (arXiv 2410.08391, section 4).
 */
export interface SeparatePlan extends ExactEnds {
  readonly kind: 'separate'
  /**
   * For each layer of the base: the auxiliary layer from whose input its K and V are mapped, never
   * less than the one before.
   */
  readonly map: readonly number[]
}

export type PredictorPlan = SharedPlan | SeparatePlan

/** A state that K and V are predicted from: the input of layer `at`. */
export interface PlanSource {
  readonly at: number
  readonly taps: number
  /** Layers whose K and V are maps of this state. */
  readonly maps: readonly number[]
  /** The run that follows. */
  readonly run: LayerRange | undefined
  /**
   * Whether a bridge leads to the run. The exact state of layer `shared` needs none to reach that
   * layer.
   */
  readonly bridged: boolean
}

/**
 * Returns how many tokens at the end of `fresh` ones run through all layers. Near tokens matter
 * most, and a longer prompt needs more of them, but each costs more there.
 */
export function windowOf({ window, windowShare = 0, windowMost = Infinity }: ExactEnds, fresh: number): number {
  return Math.max(window, Math.min(windowMost, Math.floor(fresh * windowShare)))
}

/** Whether predicted tokens run layer `shared`; else it only makes their K and V. */
export function runsAtOnce({ shared, runs }: SharedPlan): boolean {
  return runs[0]?.from === shared
}

/** Returns the sources of a plan in the order of the layers. */
export function sourcesOf(plan: PredictorPlan, layers: number): PlanSource[] {
  return plan.kind === 'shared' ? sharedSources(plan, layers) : separateSources(plan)
}

function separateSources({ map }: SeparatePlan): PlanSource[] {
  return [...new Set(map)].map((at) => {
    const maps = map.flatMap((source, layer) => (source === at ? [layer] : []))
    return { at, taps: 0, maps, run: undefined, bridged: false }
  })
}

function sharedSources({ shared, runs, taps }: SharedPlan, layers: number): PlanSource[] {
  return [{ to: shared }, ...runs].map(({ to: at }, index) => {
    const run = runs[index]
    const end = run?.from ?? layers
    // The exact state of layer `shared` makes its own K and V.
    const first = index === 0 ? at + 1 : at
    const maps = Array.from({ length: Math.max(0, end - first) }, (_, i) => first + i)
    const bridged = run !== undefined && (index > 0 || run.from > at)
    return { at, taps: defined(taps[index]), maps, run, bridged }
  })
}
