/**
 * Reads windows of attention: which layers see only the last tokens of a sequence, and how many.
 */
import { ForetokenError } from '../base/errors.ts'
import type { ModelConfig } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import { type Json, show } from './json.ts'

/**
 * Returns the windows for a config: none if all are at least as long as the model's context, so
 * that a file which mentions them has the same fingerprint as one which does not.
 */
export function windowsIn(windows: readonly number[] | undefined, maxContext: number): Pick<ModelConfig, 'windows'> {
  const shorter = windows?.map((window) => (window < maxContext ? window : 0))
  return shorter?.some((window) => window > 0) ? { windows: shorter } : {}
}

/** The first layer with a window in a model of Qwen whose file does not say it, as in transformers. */
const qwenFirst = 28

/**
 * Returns the windows that a config.json asks for, one for each layer and 0 for one without;
 * undefined if all layers see the whole context. `layer_types` decides if it is there; else
 * `use_sliding_window`, which Qwen's layers from `max_window_layers` on follow. Throws `bad_model`,
 * `unsupported`.
 */
export function windowsOf(json: Json, layers: number, where: string): readonly number[] | undefined {
  const listed = slidingLayers(json, layers, where)
  const { use_sliding_window: used, max_window_layers: first = qwenFirst } = json
  if (used !== undefined && used !== null && typeof used !== 'boolean')
    throw new ForetokenError('bad_model', `${where}: use_sliding_window is ${show(used)}, not true or false`)
  if (!listed && used === true && !isWhole(first))
    throw new ForetokenError('bad_model', `${where}: max_window_layers is ${show(first)}; expected a number of layers`)
  const from = isWhole(first) ? first : 0
  const slides = listed ?? Array.from({ length: layers }, (_, layer) => used === true && layer >= from)
  return windowsWhere(slides, json, where)
}

/**
 * Returns which layers slide by `layer_types`, (layers); undefined if it is absent. Throws
 * `bad_model`, `unsupported`.
 */
export function slidingLayers(json: Json, layers: number, where: string): readonly boolean[] | undefined {
  const { layer_types: types } = json
  if (types === undefined || types === null) return undefined
  if (!(Array.isArray(types) && types.length === layers))
    throw new ForetokenError(
      'bad_model',
      `${where}: layer_types is ${show(types)}; expected one for each of ${layers} layers`,
    )
  const odd: unknown = types.find((type) => type !== 'full_attention' && type !== 'sliding_attention')
  if (odd !== undefined)
    throw new ForetokenError(
      'unsupported',
      `${where}: layer_types has ${show(odd)}; full and sliding attention are run`,
    )
  return types.map((type) => type === 'sliding_attention')
}

/**
 * Returns the windows of the layers that slide, all of `sliding_window` tokens; undefined if none
 * slides. Throws `bad_model`.
 */
export function windowsWhere(slides: readonly boolean[], json: Json, where: string): readonly number[] | undefined {
  if (!slides.includes(true)) return undefined
  const window = json.sliding_window
  if (!isWhole(window, 1))
    throw new ForetokenError('bad_model', `${where}: sliding_window is ${show(window)}; expected a number of tokens`)
  return slides.map((sliding) => (sliding ? window : 0))
}
