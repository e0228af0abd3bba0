/**
 * Describes Phi-3 (arXiv 2404.14219) and Phi-4-mini: a llama that stacks q, k and v in one tensor
 * and gate and up in another, and may rotate only a part of each head.
 */
import { ForetokenError } from '../../base/errors.ts'
import type { ModelConfig } from '../../base/model.ts'
import { isObject, type Json, show } from '../json.ts'
import { keyRules } from '../key-rules.ts'
import { is } from '../neutral.ts'
import { windowsWhere } from '../window.ts'
import type { Family, TensorPlace, TensorSource } from './family.ts'
import { plainConfig, plainFolder, plainGgufConfig, plainKeys, plainSpec, plainTensor } from './plain.ts'

/** Defaults of transformers for absent keys. */
const defaults = { max_position_embeddings: 4096, rms_norm_eps: 1e-5 }

export const phi3: Family = {
  name: 'phi3',
  gguf: {
    name: 'phi3',
    read(metadata, tensors) {
      const config = plainGgufConfig('phi3', 'half', metadata, tensors)
      return withTurned(config, metadata.optionalNumber('phi3.rope.dimension_count') ?? config.headDim)
    },
  },
  huggingFace: {
    ...plainFolder,
    name: 'phi3',
    keys: keyRules([...plainKeys, 'partial_rotary_factor'], [], {
      full_attn_mod: is(1),
      interpolate_factor: is(1),
      lm_head_bias: is(false),
    }),
    read(json, where) {
      const config = plainConfig('phi3', { ...defaults, ...json }, where)
      return withTurned(config, Math.floor(config.headDim * shareOf(json, where)))
    },
    windows: (json, layers, where) =>
      json.sliding_window === null || json.sliding_window === undefined
        ? undefined
        : windowsWhere(new Array<boolean>(layers).fill(true), json, where),
    tied: (json) => json.tie_word_embeddings ?? false,
  },
  tensor,
  spec: plainSpec,
}

/** Returns the share of a head that turns. Throws `bad_model`. */
function shareOf(json: Json, where: string): number {
  const { rope_parameters: parameters, partial_rotary_factor: outer } = json
  const share = (isObject(parameters) ? parameters.partial_rotary_factor : undefined) ?? outer ?? 1
  if (typeof share === 'number' && share > 0 && share <= 1) return share
  throw new ForetokenError(
    'bad_model',
    `${where}: partial_rotary_factor is ${show(share)}; expected a number above 0, and at most 1`,
  )
}

function withTurned(config: ModelConfig, turned: number): ModelConfig {
  return turned === config.headDim ? config : { ...config, ropeTurned: turned }
}

function tensor(name: string, place: TensorPlace): TensorSource {
  const plain = plainTensor(name, place)
  const { config, layer } = place
  if (!layer) return plain
  const [q, kv] = [layer.heads * config.headDim, layer.kvHeads * config.headDim]
  const { intermediate } = layer
  const stacked = (gguf: string, huggingFace: string, from: number, of: number): TensorSource => ({
    gguf: `blk.${layer.index}.${gguf}.weight`,
    huggingFace: `model.layers.${layer.index}.${huggingFace}.weight`,
    part: { from, of },
  })
  if (name === 'q') return stacked('attn_qkv', 'self_attn.qkv_proj', 0, q + 2 * kv)
  if (name === 'k') return stacked('attn_qkv', 'self_attn.qkv_proj', q, q + 2 * kv)
  if (name === 'v') return stacked('attn_qkv', 'self_attn.qkv_proj', q + kv, q + 2 * kv)
  if (name === 'gate') return stacked('ffn_up', 'mlp.gate_up_proj', 0, 2 * intermediate)
  if (name === 'up') return stacked('ffn_up', 'mlp.gate_up_proj', intermediate, 2 * intermediate)
  return plain
}
