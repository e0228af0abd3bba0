/** Sliding attention: a window is harmless where it is as long as the context that is used, and refused where it is shorter. */

import { ForetokenError } from '../base/errors.ts'
import { isWhole } from '../base/numbers.ts'
import { type Json, show } from './json.ts'

/** Throws `unsupported` for layers that attend to less than `context` tokens. */
export function checkWindow(window: number, context: number, what: string): void {
  if (window < context)
    throw new ForetokenError(
      'unsupported',
      `${what}: layers with sliding attention see the last ${window} tokens only, and a context of ${context} is longer; ` +
        `foretoken attends to the whole context: load with a context of at most ${window}`,
    )
}

/**
 * The window that a config.json asks for; undefined where all layers attend to everything. `layer_types` decides where it is there; else
 * `use_sliding_window`, which Qwen's layers from `max_window_layers` on follow. Throws `bad_model`, `unsupported`.
 */
export function windowOf(json: Json, layers: number, where: string): { window: number; what: string } | undefined {
  const { layer_types: types, use_sliding_window: used, max_window_layers: first } = json
  const listed = types !== undefined && types !== null
  if (listed && !(Array.isArray(types) && types.length === layers))
    throw new ForetokenError(
      'bad_model',
      `${where}: layer_types is ${show(types)}; expected one for each of ${layers} layers`,
    )
  const odd = listed
    ? (types as unknown[]).find((type) => type !== 'full_attention' && type !== 'sliding_attention')
    : undefined
  if (odd !== undefined)
    throw new ForetokenError(
      'unsupported',
      `${where}: layer_types has ${show(odd)}; full and sliding attention are run`,
    )
  if (used !== undefined && used !== null && typeof used !== 'boolean')
    throw new ForetokenError('bad_model', `${where}: use_sliding_window is ${show(used)}, not true or false`)
  const slides = listed
    ? (types as unknown[]).includes('sliding_attention')
    : used === true && !(typeof first === 'number' && first >= layers)
  if (!slides) return undefined
  const window = json.sliding_window
  if (!isWhole(window, 1))
    throw new ForetokenError('bad_model', `${where}: sliding_window is ${show(window)}; expected a number of tokens`)
  return { window, what: `${where}: ${listed ? 'layer_types' : 'use_sliding_window'}` }
}
