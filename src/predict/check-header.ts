/** Checks a predictor's header: by itself, and against the models that it was made for. */

import { ForetokenError } from '../base/errors.ts'
import type { ModelConfig } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import { show } from '../model/json.ts'
import { type PredictorHeader, versionOf } from './header.ts'
import type { LayerRange, SeparatePlan, SharedPlan } from './plan.ts'

/** Upper bounds of a header's numbers. A model's config is checked against the same ones. */
const most = { layers: 1024, hidden: 1 << 16, kv_width: 1 << 18 } as const
/** Upper bound of `windowMost`. */
const mostWindow = 1 << 20
/** Maximum number of characters of a model's name or identity. */
const maxName = 512

/** Returns the header. Throws `bad_predictor` if a field is invalid. */
export function checkHeader(value: unknown, where: string): PredictorHeader {
  const bad = (what: string) => new ForetokenError('bad_predictor', `${where} is not a predictor: ${what}`)
  const head = value as PredictorHeader
  if (typeof value !== 'object' || value === null) throw bad('its header is not an object')
  if (head.version !== 1 && head.version !== 2)
    throw bad(`it has version ${show(head.version)}, and this foretoken reads 1 and 2; fit it again`)
  const { layers, plan } = head
  for (const [name, limit] of Object.entries(most)) {
    const number = head[name as keyof typeof most]
    if (!isWhole(number, 1, limit)) throw bad(`${name} is ${show(number)}`)
  }
  if (!isName(head.base) || !isName(head.base_name)) throw bad('it does not name its base model')
  if (typeof head.gate !== 'number') throw bad(`gate is ${show(head.gate)}`)
  if (plan?.kind !== 'shared' && plan?.kind !== 'separate') throw bad(`its kind is ${show((plan as SharedPlan)?.kind)}`)
  if (!isWhole(plan.sinks, 0, 64) || !isWhole(plan.window, 1, 4096))
    throw bad(`${show(plan.sinks)} sinks and a window of ${show(plan.window)}`)
  const { windowShare = 0, windowMost } = plan
  if (typeof windowShare !== 'number' || !(windowShare >= 0 && windowShare < 1))
    throw bad(`its window is ${show(windowShare)} of a prompt`)
  if (windowMost !== undefined && !isWhole(windowMost, plan.window, mostWindow))
    throw bad(`its window is at most ${show(windowMost)} tokens, and at least ${plan.window}`)
  const wrong = plan.kind === 'shared' ? wrongShared(plan, layers) : wrongSeparate(plan, head)
  if (wrong !== undefined) throw bad(wrong)
  const needed = versionOf(plan)
  if (head.version < needed) throw bad(`its plan needs version ${needed}, and it says ${head.version}`)
  return head
}

function isName(value: unknown): boolean {
  return typeof value === 'string' && value.length <= maxName
}

function wrongSeparate({ map }: SeparatePlan, { layers, aux }: PredictorHeader): string | undefined {
  if (!aux || !isName(aux.identity) || !isName(aux.name)) return 'it does not name its auxiliary model'
  const { layers: auxLayers, hidden, kept } = aux
  if (!isWhole(auxLayers, 1, most.layers) || !isWhole(hidden, 1, most.hidden) || hidden % 32 !== 0)
    return `its auxiliary model has ${show(auxLayers)} layers of ${show(hidden)}`
  const ascending = (list: readonly unknown[], first: number, last: number, step: number): boolean =>
    list.every((at, i) => isWhole(at, i === 0 ? first : (list[i - 1] as number) + step, last))
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
  // Layer `shared` has its exact K and V already, and may still run without its MLP; with it, one
  // more layer would be shared. Runs may touch, and a bridge lies between them all the same.
  let least = plan.runs[0]?.mlp === false ? plan.shared : plan.shared + 1
  for (const run of plan.runs) {
    const { from, to, mlp = true } = (run ?? {}) as Partial<LayerRange>
    if (!isWhole(from, least, layers - 1) || !isWhole(to, from + 1, layers))
      return `a run over layers ${show(from)}..${show(to)}`
    if (typeof mlp !== 'boolean') return `a run whose mlp is ${show(mlp)}`
    least = to
  }
  const odd = plan.taps.find((taps) => !isWhole(taps, 0, 8))
  return odd === undefined ? undefined : `${show(odd)} taps`
}

/** Throws `wrong_model` for a predictor of another base model. */
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
