/**
 * OpenELM (arXiv 2404.14619) as Hugging Face folders hold it: a llama whose layers differ in heads and in MLP width, with a norm on
 * each head of q and k, and tensors that hold several matrices, one below the other.
 */
import { ForetokenError } from '../../base/errors.ts'
import type { LayerShape, ModelConfig } from '../../base/model.ts'
import { configOfShapes, layerShapes, numberOf } from '../config.ts'
import { type Json, show } from '../json.ts'

/** Where a file has a tensor: one of its own, or rows `from`.. of one that has `of` rows. */
export interface Place {
  readonly huggingFace: string
  readonly part?: { readonly from: number; readonly of: number }
}

/** Its config.json, not yet checked as a whole. Throws `bad_model`, `unsupported`. */
export function openElmConfig(json: Json, where: string): ModelConfig {
  const number = (key: string, otherwise?: number) => numberOf(json, key, where, otherwise)
  const layers = number('num_transformer_layers')
  const hidden = number('model_dim')
  const list = (key: string, whole: boolean): number[] => {
    const values = json[key]
    if (!Array.isArray(values) || values.length !== layers)
      throw new ForetokenError(
        'bad_model',
        `${where}: ${key} is ${show(values)}; ` + `expected a number for each of ${layers} layers`,
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
  const divisor = number('ffn_dim_divisor', 256)
  const intermediate = list('ffn_multipliers', false).map((multiplier) => divisible(multiplier * hidden, divisor))
  const shapes = heads.map((count, i): LayerShape => {
    return { heads: count, kvHeads: kvHeads[i]!, intermediate: intermediate[i]! }
  })
  const normed = json.normalize_qk_projections ?? false
  if (typeof normed !== 'boolean')
    throw new ForetokenError('bad_model', `${where}: normalize_qk_projections is ${show(normed)}, not true or false`)
  return {
    architecture: 'openelm',
    ...configOfShapes(shapes),
    hidden,
    headDim: number('head_dim'),
    vocab: number('vocab_size'),
    maxContext: number('max_context_length', 2048),
    rmsEps: 1e-6,
    ropeTheta: number('rope_freq_constant', 10_000),
    ropePairs: 'half',
    tiedEmbedding: true,
    qkNorm: normed,
  }
}

/** Where each tensor of the model lies, by canonical name. */
export function openElmPlaces(config: ModelConfig): ReadonlyMap<string, Place> {
  const places = new Map<string, Place>([
    ['embed', { huggingFace: 'transformer.token_embeddings.weight' }],
    ['norm', { huggingFace: 'transformer.norm.weight' }],
    ['head', { huggingFace: 'lm_head.weight' }],
  ])
  layerShapes(config).forEach(({ heads, kvHeads, intermediate }, index) => {
    const place = (name: string, tensor: string, part?: Place['part']) =>
      places.set(`layers.${index}.${name}`, {
        huggingFace: `transformer.layers.${index}.${tensor}.weight`,
        ...(part && { part }),
      })
    const [q, kv] = [heads * config.headDim, kvHeads * config.headDim]
    place('attnNorm', 'attn_norm')
    place('q', 'attn.qkv_proj', { from: 0, of: q + 2 * kv })
    place('k', 'attn.qkv_proj', { from: q, of: q + 2 * kv })
    place('v', 'attn.qkv_proj', { from: q + kv, of: q + 2 * kv })
    place('qNorm', 'attn.q_norm')
    place('kNorm', 'attn.k_norm')
    place('o', 'attn.out_proj')
    place('ffnNorm', 'ffn_norm')
    place('gate', 'ffn.proj_1', { from: 0, of: 2 * intermediate })
    place('up', 'ffn.proj_1', { from: intermediate, of: 2 * intermediate })
    place('down', 'ffn.proj_2')
  })
  return places
}

/** The multiple of `divisor` nearest to `value`, at least one, and never less than nine tenths of it. */
function divisible(value: number, divisor: number): number {
  const nearest = Math.max(divisor, Math.floor(Math.floor(value + divisor / 2) / divisor) * divisor)
  return nearest < 0.9 * value ? nearest + divisor : nearest
}
