/**
 * The quantiser's steps that suit a model and its predictor, as one JSON file.
 *
 *     {"version": 1, "base": identity of the model, "base_name": ..., "first_layer": 6, "layers": 30, "kv_heads": 3, "head_dim": 64,
 *      "pairs": "adjacent", "steps": base64 of the table's bytes (transfer/residual.ts), without its first 4, "calibration": ..., "quality": ...}
 */

import type { ByteSource } from '../base/bytes.ts'
import { ForetokenError } from '../base/errors.ts'
import type { ModelConfig } from '../base/model.ts'
import { readJson, show } from '../model/json.ts'
import type { PredictorPlan } from '../predict/plan.ts'
import { decodeStepBytes, encodeStepBytes, type ResidualSteps } from './residual.ts'

/** A file of steps has some tens of kB. */
const bounds = { bytes: 1 << 20, values: 50_000, depth: 32 }

export interface StepsFile {
  readonly base: string
  readonly base_name: string
  /** How it was made, and what it reaches, for people. */
  readonly calibration?: unknown
  readonly quality?: unknown
}

/** The first layer whose K and V a receiver with this plan does not have exactly. */
export function firstInexact(plan: PredictorPlan): number {
  return plan.kind === 'shared' ? plan.shared + 1 : 0
}

/** The same step everywhere: for a model that nobody has calibrated. */
export function evenSteps({ layers, kvHeads, headDim, ropePairs }: ModelConfig, plan: PredictorPlan): ResidualSteps {
  const count = (layers - firstInexact(plan)) * kvHeads * (headDim / 2 + 1)
  return { pairs: ropePairs, steps: new Float32Array(count).fill(1) }
}

export function writeSteps(
  { base, base_name, ...about }: StepsFile,
  config: ModelConfig,
  plan: PredictorPlan,
  steps: ResidualSteps,
): string {
  const { layers, kvHeads, headDim } = config
  const shape = { first_layer: firstInexact(plan), layers, kv_heads: kvHeads, head_dim: headDim, pairs: steps.pairs }
  let bytes = ''
  for (const byte of encodeStepBytes(steps.steps)) bytes += String.fromCharCode(byte)
  const text = btoa(bytes)
  return `${JSON.stringify({ version: 1, base, base_name, ...shape, steps: text, ...about }, null, 2)}\n`
}

/** Throws `bad_predictor` for what is no such file, `wrong_model` for one of another model. */
export async function readSteps(
  source: ByteSource,
  config: ModelConfig,
  plan: PredictorPlan,
  identity: string,
): Promise<ResidualSteps> {
  const bad = (what: string) => new ForetokenError('bad_predictor', `${source.name} has no steps: ${what}`)
  const file = await readJson(source, bounds).catch((error: unknown) => {
    if (error instanceof ForetokenError && error.code === 'bad_model') throw bad(error.message)
    throw error
  })
  if (file.version !== 1) throw bad('it is no JSON of version 1')
  if (file.base !== identity)
    throw new ForetokenError(
      'wrong_model',
      `the steps were measured on ${show(file.base_name)}, and this is another model; measure them on this one`,
    )
  const { layers, kvHeads, headDim, ropePairs } = config
  const wanted = [firstInexact(plan), layers, kvHeads, headDim, ropePairs].join(' ')
  const numbers = [file.first_layer, file.layers, file.kv_heads, file.head_dim]
  const found = [
    ...numbers.map(show),
    typeof file.pairs === 'string' ? file.pairs.slice(0, 80) : show(file.pairs),
  ].join(' ')
  if (found !== wanted) throw bad(`its layers, heads and pairs are ${found}, not ${wanted}`)
  const steps = decodeStepBytes(bytesOf(file.steps))
  const count = evenSteps(config, plan).steps.length
  if (steps.length !== count) throw bad(`it has ${steps.length} steps, not ${count}`)
  return { pairs: ropePairs, steps }
}

/** Of base64; none for what is not. */
function bytesOf(text: unknown): Uint8Array {
  try {
    return Uint8Array.from(atob(String(text)), (letter) => letter.charCodeAt(0))
  } catch {
    return new Uint8Array(0)
  }
}
