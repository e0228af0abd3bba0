/**
 * Describes LFM2 (arXiv 2511.23404): most layers have a gated short convolution in place of
 * attention, and the others a norm on each head of q and k.
 */
import { ForetokenError } from '../../base/errors.ts'
import type { ModelConfig, TensorInfo } from '../../base/model.ts'
import { isWhole } from '../../base/numbers.ts'
import { checkedLayers, checkedTheta, mostTaps, numberOf, positiveOf, wholeOf } from '../config.ts'
import { type Json, show } from '../json.ts'
import { keyRules } from '../key-rules.ts'
import type { MetadataReader } from '../metadata.ts'
import { is, isNear } from '../neutral.ts'
import type { Family, TensorPlace, TensorSource } from './family.ts'
import { plainConfig, plainGgufConfig, plainSpec, plainTensor } from './plain.ts'

/** Keys that transformers reads, or has read, under these names. */
const honoured = [
  'block_auto_adjust_ff_dim block_ff_dim block_ffn_dim_multiplier block_multiple_of conv_L_cache full_attn_idxs hidden_size',
  'intermediate_size max_position_embeddings norm_eps num_attention_heads num_hidden_layers num_key_value_heads rope_theta',
  'theta tie_embedding tie_word_embeddings',
]

/** Initial values of training, and an epsilon that transformers does not read. */
const harmless = ['block_mlp_init_scale block_norm_eps block_out_init_scale block_use_xavier_init conv_use_xavier_init']

/** Defaults of transformers for absent keys. */
const defaults = { conv_L_cache: 3, max_position_embeddings: 128_000, norm_eps: 1e-5, num_key_value_heads: 8 }
const defaultTheta = 1e6

const isWidth = isNear(({ hidden }) => hidden)

export const lfm2: Family = {
  name: 'lfm2',
  gguf: { name: 'lfm2', keys: new Set(['shortconv.l_cache']), read: ggufConfig },
  huggingFace: {
    name: 'lfm2',
    names: { rmsEps: 'norm_eps', tiedEmbedding: 'tie_embedding or tie_word_embeddings' },
    keys: keyRules(honoured, harmless, {
      block_dim: isWidth,
      block_use_swiglu: is(true),
      conv_bias: is(false),
      conv_dim: isWidth,
      conv_dim_out: isWidth,
      num_heads: isNear(({ heads }) => heads),
      use_pos_enc: is(true),
    }),
    read: folderConfig,
    windows: () => undefined,
    tied: (json) => json.tie_embedding ?? json.tie_word_embeddings ?? true,
  },
  tensor,
  spec: (config) => plainSpec(config, { qkNorms: 'heads' }),
}

function folderConfig(json: Json, where: string): ModelConfig {
  const whole: Json = { ...defaults, ...json, conv_L_cache: json.conv_L_cache ?? defaults.conv_L_cache }
  const config = plainConfig(
    'lfm2',
    {
      ...whole,
      rms_norm_eps: numberOf(whole, 'norm_eps', where),
      intermediate_size: widthOf(json, where),
      rope_theta: baseOf(json, where),
    },
    where,
  )
  const taps = tapsOf(numberOf(whole, 'conv_L_cache', where), `${where}: conv_L_cache`)
  return withTaps(config, attending(json, config.layers, where), taps)
}

/** Returns the base of the frequencies that keys outside of `rope_parameters` give. Throws `bad_model`. */
function baseOf({ theta, rope_theta: named, rope_parameters: inner }: Json, where: string): unknown {
  if ((theta ?? named) !== (named ?? theta))
    throw new ForetokenError('bad_model', `${where}: theta is ${show(theta)}, and rope_theta ${show(named)}`)
  const key = theta === undefined ? 'rope_theta' : 'theta'
  if (theta === undefined && named === undefined) return inner ? undefined : defaultTheta
  return checkedTheta(numberOf({ theta, rope_theta: named }, key, where), key, where)
}

/**
 * Returns the width of the MLP: two thirds of the one that is named, rounded up, unless the file
 * says not to adjust it. Throws `bad_model`.
 */
function widthOf(json: Json, where: string): number {
  const named = wholeOf(json, json.block_ff_dim === undefined ? 'intermediate_size' : 'block_ff_dim', where)
  const adjusts = json.block_auto_adjust_ff_dim ?? true
  if (typeof adjusts !== 'boolean')
    throw new ForetokenError('bad_model', `${where}: block_auto_adjust_ff_dim is ${show(adjusts)}, not true or false`)
  if (!adjusts) return named
  const least = Math.floor((2 * named) / 3)
  if (json.block_ffn_dim_multiplier === null) return least
  const multiple = wholeOf(json, 'block_multiple_of', where, 256)
  return multiple * Math.ceil(Math.floor(positiveOf(json, 'block_ffn_dim_multiplier', where, 1) * least) / multiple)
}

/** Returns which layers have attention by a config.json. Throws `bad_model`. */
function attending({ layer_types: types, full_attn_idxs: listed }: Json, layers: number, where: string): boolean[] {
  const bad = (key: string, value: unknown, expected: string) =>
    new ForetokenError('bad_model', `${where}: ${key} is ${show(value)}; expected ${expected}`)
  if (types !== undefined && types !== null) {
    const kinds = ['conv', 'full_attention']
    if (!Array.isArray(types) || types.length !== layers || !types.every((type) => kinds.includes(type)))
      throw bad('layer_types', types, `"conv" or "full_attention" for each of ${layers} layers`)
    return types.map((type) => type !== 'conv')
  }
  if (listed === undefined || listed === null) return new Array<boolean>(layers).fill(true)
  if (!Array.isArray(listed) || !listed.every((layer) => isWhole(layer, 0, layers - 1)))
    throw bad('full_attn_idxs', listed, `numbers of layers from 0 to ${layers - 1}`)
  return Array.from({ length: layers }, (_, layer) => listed.includes(layer))
}

/** Reads a GGUF, whose layers without KV heads are convolutions. Throws `bad_model`, `unsupported`. */
async function ggufConfig(metadata: MetadataReader, tensors: ReadonlyMap<string, TensorInfo>): Promise<ModelConfig> {
  const { where } = metadata
  const key = 'lfm2.attention.head_count_kv'
  if (typeof metadata.value(key) !== 'object') return plainGgufConfig('lfm2', 'half', metadata, tensors)
  const layers = checkedLayers(metadata.number('lfm2.block_count'), 'lfm2.block_count', where)
  const heads = Array.from((await metadata.optionalNumbers(key, layers)) ?? [])
  if (heads.length !== layers)
    throw new ForetokenError(
      'bad_model',
      `${where}: ${key} has ${heads.length} numbers, and there are ${layers} layers`,
    )
  const counts = [...new Set(heads.filter((count) => count !== 0))]
  const [kvHeads] = counts
  if (kvHeads === undefined || counts.length > 1)
    throw new ForetokenError(
      'unsupported',
      `${where}: ${key} holds ${counts.join(', ') || 'nothing'} beside zeros; one number of KV heads for all layers with attention is run`,
    )
  const config = plainGgufConfig('lfm2', 'half', metadata, tensors, kvHeads)
  const attends = heads.map((count) => count > 0)
  const cache = 'lfm2.shortconv.l_cache'
  return withTaps(config, attends, attends.includes(false) ? tapsOf(metadata.number(cache), `${where}: ${cache}`) : 0)
}

/** Checks taps. None would mean attention. Throws `bad_model`. */
function tapsOf(taps: number, what: string): number {
  if (!isWhole(taps, 1, mostTaps))
    throw new ForetokenError('bad_model', `${what} is ${show(taps)}; expected a number of tokens, at most ${mostTaps}`)
  return taps
}

function withTaps(config: ModelConfig, attends: readonly boolean[], taps: number): ModelConfig {
  if (!attends.includes(false)) return config
  return { ...config, convolutions: attends.map((attends) => (attends ? 0 : taps)) }
}

/** Names of tensors in a folder that are not Llama's, after `model.` or `model.layers.0.`. */
const folderNames: Readonly<Record<string, string>> = {
  norm: 'embedding_norm',
  attnNorm: 'operator_norm',
  convIn: 'conv.in_proj',
  conv: 'conv.conv',
  convOut: 'conv.out_proj',
  qNorm: 'self_attn.q_layernorm',
  kNorm: 'self_attn.k_layernorm',
  o: 'self_attn.out_proj',
  ffnNorm: 'ffn_norm',
  gate: 'feed_forward.w1',
  up: 'feed_forward.w3',
  down: 'feed_forward.w2',
}

/** The same in a GGUF. llama.cpp gives the last norm the name of one behind the embedding. */
const ggufNames: Readonly<Record<string, string>> = {
  norm: 'token_embd_norm',
  convIn: 'shortconv.in_proj',
  conv: 'shortconv.conv',
  convOut: 'shortconv.out_proj',
}

function tensor(name: string, place: TensorPlace): TensorSource {
  const plain = plainTensor(name, place)
  const { layer } = place
  const [folder, gguf] = [folderNames[name], ggufNames[name]]
  return {
    huggingFace: folder ? `model.${layer ? `layers.${layer.index}.` : ''}${folder}.weight` : plain.huggingFace,
    gguf: gguf ? `${layer ? `blk.${layer.index}.` : ''}${gguf}.weight` : plain.gguf,
  }
}
