/** What a predictor says of itself: its JSON header, checked. */

import { ForetokenError } from '../base/errors.ts'
import type { ModelConfig } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import { show } from '../model/json.ts'

/** Layers `from`..`to` - 1 that predicted tokens run through, on bridged states. */
export interface BridgedRun {
  readonly from: number
  readonly to: number
}

/** Which tokens of a prompt run through all layers of the base, whatever the kind of the plan. */
interface ExactEnds {
  /** Tokens in front. */
  readonly sinks: number
  /** Tokens at the end: at least so many, see `windowOf`. */
  readonly window: number
  /** The same as a share of what is prefilled, below 1. Default 0. */
  readonly windowShare?: number
}

/**
 * Predicted tokens run through the base's own first layers: 0..shared - 1 exactly, and layer `shared` has its exact K and V, too.
 * From there they jump, by one linear bridge each, to the runs; of the layers between, K and V are linear maps of the
 * state before the jump.
 */
export interface SharedPlan extends ExactEnds {
  readonly kind: 'shared'
  readonly shared: number
  readonly runs: readonly BridgedRun[]
  /** How many positions before a token's own are inputs, too, at each source: the shared state, then the end of each run. */
  readonly taps: readonly number[]
}

/** Predicted tokens run through another, smaller model, of whose states all K and V are linear maps (arXiv 2410.08391, section 4). */
export interface SeparatePlan extends ExactEnds {
  readonly kind: 'separate'
  /** Of each layer of the base: the auxiliary layer whose input its K and V are maps of, never less than the one before. */
  readonly map: readonly number[]
}

export type PredictorPlan = SharedPlan | SeparatePlan

/** The smaller model of a `separate` plan. */
export interface AuxiliaryHeader {
  /** Its weights, see `WeightIdentity`. */
  readonly identity: string
  /** Where to find it, for people and for the command line. */
  readonly name: string
  readonly layers: number
  readonly hidden: number
  /** Which layers of the named model it consists of, in order; absent: all. */
  readonly kept?: readonly number[]
}

export interface PredictorHeader {
  readonly version: 1
  /** The weights it was made for, see `WeightIdentity`. */
  readonly base: string
  readonly base_name: string
  readonly layers: number
  readonly hidden: number
  /** Values of K, and as many of V, of a token in a layer. */
  readonly kv_width: number
  readonly plan: PredictorPlan
  /** Of a `separate` plan. */
  readonly aux?: AuxiliaryHeader
  /** Below this margin between the two likeliest first tokens' log-probabilities, `auto` takes exact. */
  readonly gate: number
  /** How it was made, for people. */
  readonly training: Readonly<Record<string, unknown>>
  /** What it reaches on text that it was not made from, for people. */
  readonly quality: Readonly<Record<string, unknown>>
}

/** A state that K and V are predicted from: `at` is the layer whose input it is. */
export interface PlanSource {
  readonly at: number
  readonly taps: number
  /** Layers whose K and V are maps of it. */
  readonly maps: readonly number[]
  /** The run that a bridge leads to from here. */
  readonly run: BridgedRun | undefined
}

/** Tokens at the end of `fresh` ones that run through all layers: what is near matters most, and the more of them the more there are. */
export function windowOf({ window, windowShare = 0 }: ExactEnds, fresh: number): number {
  return Math.max(window, Math.floor(fresh * windowShare))
}

/** The sources of a plan, in the order of the layers. */
export function sourcesOf(plan: PredictorPlan, layers: number): PlanSource[] {
  return plan.kind === 'shared' ? sharedSources(plan, layers) : separateSources(plan)
}

/** Values of the longest input of a predictor's maps. */
export function inputsOf(header: PredictorHeader): number {
  return Math.max(...sourcesOf(header.plan, header.layers).map(({ taps }) => (1 + taps) * stateWidth(header)))
}

/** Values of a state that maps read. */
export function stateWidth({ hidden, aux }: Pick<PredictorHeader, 'hidden' | 'aux'>): number {
  return aux?.hidden ?? hidden
}

function separateSources({ map }: SeparatePlan): PlanSource[] {
  return [...new Set(map)].map((at) => {
    const maps = map.flatMap((source, layer) => (source === at ? [layer] : []))
    return { at, taps: 0, maps, run: undefined }
  })
}

function sharedSources({ shared, runs, taps }: SharedPlan, layers: number): PlanSource[] {
  return [{ to: shared }, ...runs].map(({ to: at }, index) => {
    const run = runs[index]
    const end = run?.from ?? layers
    // The exact state of layer `shared` makes its own K and V.
    const first = index === 0 ? at + 1 : at
    return { at, taps: taps[index]!, maps: Array.from({ length: Math.max(0, end - first) }, (_, i) => first + i), run }
  })
}

/** Numbers of a header, each from 1 to what no model that we run exceeds: its config is checked against the same. */
const most = { layers: 1024, hidden: 1 << 16, kv_width: 1 << 18 } as const
/** Characters of a model's name or identity. */
const maxName = 512

/** Throws `bad_predictor`. */
export function checkHeader(value: unknown, where: string): PredictorHeader {
  const bad = (what: string) => new ForetokenError('bad_predictor', `${where} is no predictor: ${what}`)
  const head = value as PredictorHeader
  if (typeof value !== 'object' || value === null) throw bad('its header is no object')
  if (head.version !== 1) throw bad(`it has version ${show(head.version)}, and this foretoken reads 1; fit it again`)
  const { layers, plan } = head
  for (const [name, limit] of Object.entries(most)) {
    const number = head[name as keyof typeof most]
    if (!isWhole(number, 1, limit)) throw bad(`${name} is ${show(number)}`)
  }
  if (!isName(head.base) || !isName(head.base_name)) throw bad('it names no base model')
  if (typeof head.gate !== 'number') throw bad(`gate is ${show(head.gate)}`)
  if (plan?.kind !== 'shared' && plan?.kind !== 'separate') throw bad(`its kind is ${show((plan as SharedPlan)?.kind)}`)
  if (!isWhole(plan.sinks, 0, 64) || !isWhole(plan.window, 1, 4096))
    throw bad(`${show(plan.sinks)} sinks and a window of ${show(plan.window)}`)
  const { windowShare = 0 } = plan
  if (typeof windowShare !== 'number' || !(windowShare >= 0 && windowShare < 1))
    throw bad(`its window is ${show(windowShare)} of a prompt`)
  const wrong = plan.kind === 'shared' ? wrongShared(plan, layers) : wrongSeparate(plan, head)
  if (wrong !== undefined) throw bad(wrong)
  return head
}

function isName(value: unknown): boolean {
  return typeof value === 'string' && value.length <= maxName
}

function wrongSeparate({ map }: SeparatePlan, { layers, aux }: PredictorHeader): string | undefined {
  if (!isName(aux?.identity) || !isName(aux?.name)) return 'it names no auxiliary model'
  const { layers: auxLayers, hidden, kept } = aux!
  if (!isWhole(auxLayers, 1, most.layers) || !isWhole(hidden, 1, most.hidden) || hidden % 32 !== 0)
    return `its auxiliary model has ${show(auxLayers)} layers of ${show(hidden)}`
  const ascending = (list: readonly unknown[], first: number, last: number, step: number) =>
    list.every((at, i): boolean => isWhole(at, i === 0 ? first : (list[i - 1] as number) + step, last))
  if (
    kept !== undefined &&
    !(Array.isArray(kept) && kept.length === auxLayers && ascending(kept, 0, most.layers - 1, 1))
  )
    return `its auxiliary model keeps ${show(kept)} as ${auxLayers} layers`
  if (!Array.isArray(map) || map.length !== layers) return `it maps to ${show(map)} of ${layers} layers`
  return ascending(map, 0, auxLayers, 0)
    ? undefined
    : `it maps auxiliary layers ${map.map(show).join(' ')} of ${auxLayers}`
}

function wrongShared(plan: SharedPlan, layers: number): string | undefined {
  if (!isWhole(plan.shared, 1, layers - 1)) return `it shares ${show(plan.shared)} of ${layers} layers`
  if (!Array.isArray(plan.runs) || !Array.isArray(plan.taps) || plan.taps.length !== plan.runs.length + 1)
    return 'it must have taps for each source'
  // Layer `shared` has its exact K and V already. Runs may touch: a bridge lies between them all the same.
  let least = plan.shared + 1
  for (const run of plan.runs) {
    const { from, to } = (run ?? {}) as Partial<BridgedRun>
    if (!isWhole(from, least, layers - 1) || !isWhole(to, from! + 1, layers))
      return `a run over layers ${show(from)}..${show(to)}`
    least = to!
  }
  const odd = plan.taps.find((taps) => !isWhole(taps, 0, 8))
  return odd === undefined ? undefined : `${show(odd)} taps`
}

/** Throws `wrong_model` for a predictor of another base. */
export function checkBase(head: PredictorHeader, config: ModelConfig, identity: string, name: string): void {
  if (head.base !== identity)
    throw new ForetokenError(
      'wrong_model',
      `the predictor was made for ${head.base_name} (${head.base.slice(0, 12)}), and this is ${name} ` +
        `(${identity.slice(0, 12)}); use that model, or fit a predictor for this one`,
    )
  const { layers, hidden, kvHeads, headDim } = config
  if (head.layers !== layers || head.hidden !== hidden || head.kv_width !== kvHeads * headDim)
    throw new ForetokenError(
      'bad_predictor',
      `its header says ${head.layers} layers of ${head.hidden}, its base has ${layers} of ${hidden}`,
    )
}

/** Throws `wrong_model` for an auxiliary model that the predictor was not made with. */
export function checkAuxiliary({ aux, base_name }: PredictorHeader, config: ModelConfig, identity: string): void {
  if (!aux || aux.identity === identity) return
  throw new ForetokenError(
    'wrong_model',
    `the predictor for ${base_name} reads the states of ${aux.name} (${aux.identity.slice(0, 12)}), and this auxiliary model is ` +
      `${identity.slice(0, 12)} with ${config.layers} layers of ${config.hidden}; use that one, or fit a predictor for this one`,
  )
}
