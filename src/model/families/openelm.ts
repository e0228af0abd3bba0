/**
 * Describes OpenELM (arXiv 2404.14619) in Hugging Face folders: a llama whose layers differ in
 * their numbers of heads and MLP widths, with a norm on each head of q and k, and with tensors that
 * stack several matrices.
 */
import { defined } from '../../base/at.ts'
import { ForetokenError } from '../../base/errors.ts'
import type { LayerShape, ModelConfig } from '../../base/model.ts'
import { checkedLayers, configOfShapes, numberOf, wholeOf } from '../config.ts'
import { type Json, show } from '../json.ts'
import { keyRules } from '../key-rules.ts'
import { is } from '../neutral.ts'
import { windowsOf } from '../window.ts'
import type { Family, TensorPlace, TensorSource } from './family.ts'
import { plainSpec, plainTensor } from './plain.ts'

const epsilon = 1e-6

const honoured = [
  'ffn_dim_divisor ffn_multipliers max_context_length model_dim normalize_qk_projections num_kv_heads num_query_heads',
  'num_transformer_layers rope_freq_constant share_input_output_layers',
]

/** Keys that follow from the honoured ones, or that OpenELM's code uses only to size tables. */
const harmless = ['num_gqa_groups qkv_multipliers rope_max_length tie_word_embeddings']

export const openElm: Family = {
  name: 'openelm',
  huggingFace: {
    name: 'openelm',
    // OpenELM's code has a fixed epsilon.
    keys: keyRules(honoured, harmless, {
      activation_fn_name: is('swish'),
      ffn_with_glu: is(true),
      normalization_layer_name: is('rms_norm'),
      rms_norm_eps: is(epsilon),
    }),
    read: configOf,
    names: {
      layers: 'num_transformer_layers',
      hidden: 'model_dim',
      intermediate: 'ffn_multipliers',
      heads: 'num_query_heads',
      kvHeads: 'num_kv_heads',
      maxContext: 'max_context_length',
      ropeTheta: 'rope_freq_constant',
      tiedEmbedding: 'share_input_output_layers',
    },
    windows: windowsOf,
    tied: (json) => json.share_input_output_layers ?? true,
    withoutTokenizer: "OpenELM was made with Llama 2's and brings none: put that tokenizer.json beside config.json",
  },
  tensor,
  spec: (config) => plainSpec(config, { qkNorms: config.qkNorm === true ? 'heads' : 'none' }),
}

function configOf(json: Json, where: string): ModelConfig {
  const number = (key: string, otherwise?: number) => numberOf(json, key, where, otherwise)
  const layers = checkedLayers(number('num_transformer_layers'), 'num_transformer_layers', where)
  const hidden = number('model_dim')
  const list = (key: string, whole: boolean): number[] => {
    const values = json[key]
    if (!Array.isArray(values) || values.length !== layers)
      throw new ForetokenError(
        'bad_model',
        `${where}: ${key} is ${show(values)}; expected a number for each of ${layers} layers`,
      )
    const bad = values.find((value) => !(value > 0 && (whole ? Number.isSafeInteger : Number.isFinite)(value)))
    if (bad !== undefined)
      throw new ForetokenError(
        'bad_model',
        `${where}: ${key} holds ${show(bad)}; expected positive ${whole ? 'whole ' : ''}numbers`,
      )
    return values
  }
  const heads = list('num_query_heads', true)
  const kvHeads = list('num_kv_heads', true)
  const divisor = wholeOf(json, 'ffn_dim_divisor', where, 256)
  const intermediate = list('ffn_multipliers', false).map((multiplier) => divisible(multiplier * hidden, divisor))
  const shapes = heads.map((count, i): LayerShape => {
    return { heads: count, kvHeads: defined(kvHeads[i]), intermediate: defined(intermediate[i]) }
  })
  const { normalize_qk_projections: normed = false } = json
  if (typeof normed !== 'boolean')
    throw new ForetokenError('bad_model', `${where}: normalize_qk_projections is ${show(normed)}, not true or false`)
  return {
    architecture: 'openelm',
    ...configOfShapes(shapes),
    hidden,
    headDim: number('head_dim'),
    vocab: number('vocab_size'),
    maxContext: number('max_context_length', 2048),
    rmsEps: epsilon,
    ropeTheta: number('rope_freq_constant', 10_000),
    ropePairs: 'half',
    tiedEmbedding: true,
    qkNorm: normed,
  }
}

const modelTensors: Readonly<Record<string, string>> = {
  embed: 'transformer.token_embeddings.weight',
  norm: 'transformer.norm.weight',
  head: 'lm_head.weight',
}

const layerTensors: Readonly<Record<string, string>> = {
  attnNorm: 'attn_norm',
  q: 'attn.qkv_proj',
  k: 'attn.qkv_proj',
  v: 'attn.qkv_proj',
  qNorm: 'attn.q_norm',
  kNorm: 'attn.k_norm',
  o: 'attn.out_proj',
  ffnNorm: 'ffn_norm',
  gate: 'ffn.proj_1',
  up: 'ffn.proj_1',
  down: 'ffn.proj_2',
}

function tensor(name: string, place: TensorPlace): TensorSource {
  const plain = plainTensor(name, place)
  const { config, layer } = place
  if (!layer) return { ...plain, huggingFace: modelTensors[name] ?? plain.huggingFace }
  const part = partOf(name, layer, config.headDim)
  const huggingFace = `transformer.layers.${layer.index}.${layerTensors[name] ?? name}.weight`
  return { ...plain, huggingFace, ...(part && { part }) }
}

/** Returns the rows of a matrix within a tensor that stacks several; undefined if it is alone. */
function partOf(
  name: string,
  { heads, kvHeads, intermediate }: LayerShape,
  headDim: number,
): TensorSource['part'] | undefined {
  const [q, kv] = [heads * headDim, kvHeads * headDim]
  if (name === 'q') return { from: 0, of: q + 2 * kv }
  if (name === 'k') return { from: q, of: q + 2 * kv }
  if (name === 'v') return { from: q + kv, of: q + 2 * kv }
  if (name === 'gate') return { from: 0, of: 2 * intermediate }
  if (name === 'up') return { from: intermediate, of: 2 * intermediate }
  return undefined
}

/**
 * Returns the multiple of `divisor` nearest to `value`: at least one, and never less than nine
 * tenths of `value`.
 */
function divisible(value: number, divisor: number): number {
  const nearest = Math.max(divisor, Math.floor(Math.floor(value + divisor / 2) / divisor) * divisor)
  return nearest < 0.9 * value ? nearest + divisor : nearest
}
