/** Describes SmolLM3: a llama in which every fourth layer does not rotate q and k. */
import { ForetokenError } from '../../base/errors.ts'
import type { ModelConfig } from '../../base/model.ts'
import { isWhole } from '../../base/numbers.ts'
import { type Json, show } from '../json.ts'
import { keyRules } from '../key-rules.ts'
import type { Family } from './family.ts'
import { plainConfig, plainFolder, plainGgufConfig, plainKeys, plainSpec, plainTensor } from './plain.ts'

/** Every `interval`-th layer does not rotate, if a file does not say which; a GGUF never does. */
const interval = 4

/** Defaults of transformers for absent keys. */
const defaults = { num_key_value_heads: 4, max_position_embeddings: 32_768 }

export const smolLm3: Family = {
  name: 'smollm3',
  gguf: {
    name: 'smollm3',
    // llama.cpp permutes wq and wk as those of a llama.
    read(metadata, tensors) {
      const config = plainGgufConfig('smollm3', 'adjacent', metadata, tensors)
      return withRotated(config, rotatedBy(config.layers, interval))
    },
  },
  huggingFace: {
    ...plainFolder,
    name: 'smollm3',
    keys: keyRules([...plainKeys, 'no_rope_layers no_rope_layer_interval']),
    read(json, where) {
      const config = plainConfig('smollm3', { ...defaults, ...json }, where)
      return withRotated(config, rotatedOf(json, config.layers, where))
    },
    tied: (json) => json.tie_word_embeddings ?? true,
  },
  tensor: plainTensor,
  spec: plainSpec,
}

/** Returns which layers rotate by a config.json. Throws `bad_model`. */
function rotatedOf(json: Json, layers: number, where: string): readonly boolean[] {
  const { no_rope_layers: listed, no_rope_layer_interval: each } = json
  if (listed !== undefined && listed !== null) {
    if (Array.isArray(listed) && listed.length === layers && listed.every((one) => one === 0 || one === 1))
      return listed.map((one) => one === 1)
    throw new ForetokenError(
      'bad_model',
      `${where}: no_rope_layers is ${show(listed)}; expected 0 or 1 for each of ${layers} layers`,
    )
  }
  const every = each ?? interval
  if (!isWhole(every, 1))
    throw new ForetokenError('bad_model', `${where}: no_rope_layer_interval is ${show(every)}; expected a whole number`)
  return rotatedBy(layers, every)
}

function rotatedBy(layers: number, interval: number): readonly boolean[] {
  return Array.from({ length: layers }, (_, layer) => (layer + 1) % interval !== 0)
}

function withRotated(config: ModelConfig, rotated: readonly boolean[]): ModelConfig {
  return { ...config, ropeThetas: rotated.map((rotates) => (rotates ? config.ropeTheta : 0)) }
}
