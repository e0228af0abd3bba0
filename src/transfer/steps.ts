/**
 * Reads and writes the quantiser's steps for a model and its predictor, as one JSON file.
 *
 *     {"version": 1, "base": identity of the model, "base_name": ..., "first_layer": 6,
 *      "layers": 30, "kv_heads": 3, "head_dim": 64, "pairs": "adjacent",
 *      "steps": base64 of the table's bytes (transfer/residual.ts) without its first 4,
 *      "calibration": ..., "quality": ...}
 */

import type { ByteSource } from '../base/bytes.ts'
import { ForetokenError } from '../base/errors.ts'
import type { ModelConfig } from '../base/model.ts'
import { readJson, show } from '../model/json.ts'
import type { PredictorPlan } from '../predict/plan.ts'
import { decodeStepBytes, encodeStepBytes, type ResidualSteps } from './residual.ts'

/** Limits for such a file, which has some tens of kB. */
const bounds = { bytes: 1 << 20, values: 50_000, depth: 32 }

export interface StepsFile {
  readonly base: string
  readonly base_name: string
  /** How the steps were measured and the quality that they reach, for people. */
  readonly calibration?: unknown
  readonly quality?: unknown
}

/** Returns the first layer whose K and V are not exact at a receiver with this plan. */
export function firstInexact(plan: PredictorPlan): number {
  return plan.kind === 'shared' ? plan.shared + 1 : 0
}

/** Returns the same step everywhere, for a model that nobody has calibrated. */
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

/**
 * Reads a file of steps. Throws `bad_predictor` if it is not one, `wrong_model` if it is for
 * another model.
 */
export async function readSteps(
  source: ByteSource,
  config: ModelConfig,
  plan: PredictorPlan,
  identity: string,
): Promise<ResidualSteps> {
  const bad = (what: string) => new ForetokenError('bad_predictor', `${source.name} is not a file of steps: ${what}`)
  const file = await readJson(source, bounds).catch((error: unknown) => {
    if (error instanceof ForetokenError && error.code === 'bad_model') throw bad(error.message)
    throw error
  })
  if (file.version !== 1) throw bad('its version is not 1')
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

/** Decodes base64; returns no bytes for any other value. */
function bytesOf(text: unknown): Uint8Array {
  try {
    return Uint8Array.from(atob(String(text)), (letter) => letter.charCodeAt(0))
  } catch {
    return new Uint8Array(0)
  }
}
