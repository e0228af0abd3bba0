/**
 * Describes the dense models of Hunyuan (Tencent, 0.5B to 7B): a llama with an RMS norm on each head
 * of q and k after they are rotated, and a base of RoPE that is stretched for a long context.
 */
import { ForetokenError } from '../../base/errors.ts'
import { positiveOf } from '../config.ts'
import { isObject, type Json, show } from '../json.ts'
import { keyRules } from '../key-rules.ts'
import { is } from '../neutral.ts'
import { thetaOf } from '../rope.ts'
import type { Family } from './family.ts'
import { plainConfig, plainFolder, plainGguf, plainKeys, plainSpec, plainTensor } from './plain.ts'

/** Keys that only a model with experts, with shared K and V, or with a classifier reads. */
const harmless = [
  'class_num dense_list enable_lm_head_fp32 eod_token_id im_end_id im_newline_id im_start_id image_token_id mask_init_id',
  'org_vocab_size pad_id pool_type text_end_id text_start_id video_end_id video_start_id',
]

export const hunyuanDense: Family = {
  name: 'hunyuan-dense',
  gguf: plainGguf('hunyuan-dense', 'half'),
  huggingFace: {
    ...plainFolder,
    name: 'hunyuan_v1_dense',
    keys: keyRules(plainKeys, harmless, {
      ...{ use_qk_norm: is(true), qk_norm: is(true), qk_layernorm: is(true) },
      ...{ add_classification_head: is(false), norm_type: is('rms'), position_embedding_xdrope: is(false) },
      ...{ use_cla: is(false), use_rotary_pos_emb: is(true), num_experts: is(0, 1) },
    }),
    normal: stretched,
    read: (json, where) => plainConfig('hunyuan-dense', { rms_norm_eps: 1e-5, ...json }, where),
    tied: (json) => json.tie_word_embeddings ?? false,
  },
  tensor(name, place) {
    const plain = plainTensor(name, place)
    const norm = name === 'qNorm' ? 'query_layernorm' : name === 'kNorm' ? 'key_layernorm' : undefined
    if (!norm || !place.layer) return plain
    return { ...plain, huggingFace: `model.layers.${place.layer.index}.self_attn.${norm}.weight` }
  },
  spec: (config) => plainSpec(config, { qkNorms: 'heads', qkNormsTurned: true }),
}

/**
 * Returns config.json with the base that its scaling `dynamic` of a fixed `alpha` makes: theta *
 * alpha^(d / (d - 2)), whatever the length (NTK-aware, as in transformers). Throws `bad_model`.
 */
function stretched(json: Json, where: string): Json {
  const { rope_scaling: before, rope_parameters: now, ...rest } = json
  const scaling = before ?? now
  if (!isObject(scaling) || (scaling.rope_type ?? scaling.type) !== 'dynamic' || !('alpha' in scaling)) return json
  const { alpha } = scaling
  const of = (key: string, otherwise?: number) => positiveOf(json, key, where, otherwise)
  const headDim = of('head_dim', of('hidden_size') / of('num_attention_heads'))
  if (typeof alpha !== 'number' || !(alpha > 0 && alpha <= 1e6) || !(headDim > 2))
    throw new ForetokenError(
      'bad_model',
      `${where}: alpha of RoPE is ${show(alpha)} for head_dim ${headDim}; expected a positive number up to 1000000`,
    )
  return { ...rest, rope_theta: thetaOf(json, where) * alpha ** (headDim / (headDim - 2)) }
}
