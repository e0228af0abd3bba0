/**
 * A model of some of another's layers: a layer-pruned copy (KVP-LP in arXiv 2410.08391, section
 * 5.1) that needs no file of its own.
 */

import { defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import type { ModelArchive, TensorInfo } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import { configOfShapes, layerShapes } from './config.ts'
import { fingerprint } from './fingerprint.ts'

/** `kept` are layers of `archive`, ascending. Throws `bad_argument`. */
export async function withLayers(archive: ModelArchive, kept: readonly number[]): Promise<ModelArchive> {
  const { layers } = archive.config
  const sound = kept.every((layer, at) => isWhole(layer, (kept[at - 1] ?? -1) + 1, layers - 1))
  if (kept.length === 0 || !sound)
    throw new ForetokenError(
      'bad_argument',
      `layers ${kept.join(', ')} of ${archive.name}: name some of 0 to ${layers - 1}, ascending`,
    )
  const shapes = layerShapes(archive.config)
  const { perLayer: _, windows, ropeThetas, convolutions, ...same } = archive.config
  const config = {
    ...same,
    ...configOfShapes(kept.map((layer) => defined(shapes[layer]))),
    ...(windows && { windows: kept.map((layer) => defined(windows[layer])) }),
    ...(convolutions && { convolutions: kept.map((layer) => defined(convolutions[layer])) }),
    ...(ropeThetas && { ropeThetas: kept.map((layer) => defined(ropeThetas[layer])) }),
  }
  const tensors = new Map<string, TensorInfo>()
  for (const [name, tensor] of archive.tensors) {
    const [, layer, rest] = /^layers\.(\d+)\.(.*)$/.exec(name) ?? []
    const at = kept.indexOf(Number(layer))
    if (layer === undefined) tensors.set(name, tensor)
    else if (at >= 0) tensors.set(`layers.${at}.${rest}`, tensor)
  }
  return { ...archive, config, tensors, fingerprint: await fingerprint(config, tensors) }
}
