/**
 * Describes EXAONE 4 (arXiv 2507.11407): a llama with norms behind both halves of a layer in place
 * of those before, and a norm on each head of q and k. Where most layers see a window, the others
 * do not rotate.
 */
import { ForetokenError } from '../../base/errors.ts'
import type { ModelConfig } from '../../base/model.ts'
import { isWhole } from '../../base/numbers.ts'
import { type Json, show } from '../json.ts'
import { keyRules } from '../key-rules.ts'
import type { MetadataReader } from '../metadata.ts'
import { slidingLayers, windowsWhere } from '../window.ts'
import type { Family } from './family.ts'
import { plainConfig, plainFolder, plainGgufConfig, plainKeys, plainSpec, plainTensor } from './plain.ts'

/** Defaults of transformers for absent keys. A null is not absent: it disables the window. */
const defaults = { num_key_value_heads: 32, rms_norm_eps: 1e-5, sliding_window: 4096, sliding_window_pattern: 4 }

/** llama.cpp knows by the number of layers that a model has windows: the 32B has 64, on three of four layers. */
const [layersOfWindowed, pattern] = [64, 4]

export const exaone4: Family = {
  name: 'exaone4',
  gguf: {
    name: 'exaone4',
    read(metadata, tensors) {
      const config = plainGgufConfig('exaone4', 'half', metadata, tensors)
      return withRotated(config, ggufSlides(metadata, config.layers))
    },
    slides: ggufSlides,
  },
  huggingFace: {
    ...plainFolder,
    name: 'exaone4',
    keys: keyRules([...plainKeys, 'sliding_window_pattern']),
    read(json, where) {
      const config = plainConfig('exaone4', { ...defaults, ...json }, where)
      const { sliding_window: window } = { ...defaults, ...json }
      return window === null ? config : withRotated(config, folderSlides(json, config.layers, where))
    },
    windows(json, layers, where) {
      const whole: Json = { ...defaults, ...json }
      if (whole.sliding_window === null) return undefined
      return windowsWhere(folderSlides(json, layers, where), whole, where)
    },
  },
  tensor: plainTensor,
  spec: (config) =>
    plainSpec(config, {
      norms: { beforeAttention: false, afterAttention: true, beforeMlp: false, afterMlp: true },
      qkNorms: 'heads',
    }),
}

/** Returns which layers slide by a config.json that has a window. Throws `bad_model`, `unsupported`. */
function folderSlides(json: Json, layers: number, where: string): readonly boolean[] {
  const whole: Json = { ...defaults, ...json }
  const listed = slidingLayers(whole, layers, where)
  if (listed) return listed
  const each = whole.sliding_window_pattern
  // Letters for layers, as in "LLLG".
  if (typeof each === 'string' && /^[LG]+$/.test(each))
    return Array.from({ length: layers }, (_, layer) => each[layer % each.length] === 'L' && layer < layers - 1)
  if (!isWhole(each, 1))
    throw new ForetokenError(
      'bad_model',
      `${where}: sliding_window_pattern is ${show(each)}; expected a whole number, or letters L and G`,
    )
  return allButEach(layers, each)
}

/** Returns which layers of a GGUF slide. Throws `unsupported` for windows that llama.cpp does not know. */
function ggufSlides(metadata: MetadataReader, layers: number): readonly boolean[] {
  const key = 'exaone4.attention.sliding_window'
  const window = metadata.value(key)
  if (layers === layersOfWindowed && window !== undefined) return allButEach(layers, pattern)
  if (layers === layersOfWindowed)
    throw new ForetokenError('bad_model', `${metadata.where}: metadata ${key} is missing`)
  if (window !== undefined && window !== 0)
    throw new ForetokenError(
      'unsupported',
      `${metadata.where}: ${key} is ${show(window)}, and only files of ${layersOfWindowed} layers say which of them it is for; use the model's safetensors`,
    )
  return new Array<boolean>(layers).fill(false)
}

function allButEach(layers: number, each: number): boolean[] {
  return Array.from({ length: layers }, (_, layer) => (layer + 1) % each !== 0)
}

/** If some layers have windows, the others do not rotate. */
function withRotated(config: ModelConfig, slides: readonly boolean[]): ModelConfig {
  if (!slides.includes(true)) return config
  return { ...config, ropeThetas: slides.map((slides) => (slides ? config.ropeTheta : 0)) }
}
