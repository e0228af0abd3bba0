/**
 * Settings of a model's files that change the computation. What foretoken does not compute is refused by its name; what is at the value
 * that changes nothing is accepted, and so are keys that never change anything.
 */
import { ForetokenError } from '../errors.ts'
import type { ModelConfig } from '../types.ts'
import { isObject, type Json, show } from './json.ts'

/** What a setting is compared with. */
export interface Model {
  readonly architecture: ModelConfig['architecture']
  readonly headDim: number
  readonly hidden: number
  readonly heads: number
  readonly layers: number
}

/** Whether a value of the key changes nothing; null and absent never do. */
type Neutral = (value: unknown, model: Model) => boolean

const is =
  (...values: readonly unknown[]): Neutral =>
  (value) =>
    values.includes(value)
const isNear =
  (of: (model: Model) => number): Neutral =>
  (value, model) =>
    typeof value === 'number' && Math.abs(value - of(model)) <= 1e-6 * of(model)
const isOff = is(false, 0)
const isOne = is(1)
const isEmpty: Neutral = (value) =>
  (Array.isArray(value) ? value : isObject(value) ? Object.keys(value) : [0]).length === 0
const inverseRoot = isNear(({ headDim }) => 1 / Math.sqrt(headDim))

/** Keys of config.json that change the computation, with what of them is run. Whatever else the reader honours stands in `honoured`. */
const neutral: Readonly<Record<string, Neutral>> = {
  hidden_act: is('silu', 'swish'),
  hidden_activation: is('silu', 'swish'),
  activation_function: is('silu', 'swish'),
  mlp_bias: isOff,
  // Qwen 2 has biases on q, k and v whatever this says.
  attention_bias: (value, { architecture }) => value === false || architecture === 'qwen2',
  qkv_bias: (value, { architecture }) => value === (architecture === 'qwen2'),
  use_bias: isOff,
  partial_rotary_factor: isOne,
  rotary_pct: isOne,
  rotary_emb_fraction: isOne,
  rotary_dim: isNear(({ headDim }) => headDim),
  rope_interleaved: isOff,
  rope_traditional: isOff,
  position_embedding_type: is('rope', 'rotary'),
  alibi: isOff,
  attn_logit_softcapping: isOff,
  final_logit_softcapping: isOff,
  logit_softcapping: isOff,
  query_pre_attn_scalar: isNear(({ headDim }) => headDim),
  attention_multiplier: inverseRoot,
  attn_scale: inverseRoot,
  embedding_multiplier: isOne,
  residual_multiplier: isOne,
  logits_scaling: isOne,
  logit_scale: isOne,
  scale_emb: isOne,
  scale_depth: isNear(({ layers }) => Math.sqrt(layers)),
  dim_model_base: isNear(({ hidden }) => hidden),
  scale_attn_weights: is(true),
  scale_attn_by_inverse_layer_idx: isOff,
  use_qk_norm: (value, { architecture }) => value === (architecture === 'qwen3'),
  qk_norm: (value, { architecture }) => value === (architecture === 'qwen3'),
  qk_layernorm: (value, { architecture }) => value === (architecture === 'qwen3'),
  use_post_norm: isOff,
  clip_qkv: isOff,
  parallel_attn: isOff,
  use_parallel_residual: isOff,
  parallel_residual: isOff,
  num_experts: isOff,
  num_local_experts: is(0, 1),
  n_routed_experts: isOff,
  n_shared_experts: isOff,
  moe_num_experts: isOff,
  moe_layer_freq: isOff,
  kv_lora_rank: isOff,
  q_lora_rank: isOff,
  attention_chunk_size: isOff,
  no_rope_layers: (value) => Array.isArray(value) && value.every((rotated) => rotated === 1),
  no_rope_layer_interval: isOff,
  num_kv_shared_layers: isOff,
  num_nextn_predict_layers: isOff,
  is_encoder_decoder: isOff,
  add_cross_attention: isOff,
  pruned_heads: isEmpty,
  quantization_config: () => false,
  quantization: () => false,
  compression_config: () => false,
  // OpenELM's names.
  activation_fn_name: is('swish'),
  ffn_with_glu: is(true),
  normalization_layer_name: is('rms_norm'),
}

/** Read where the config is made. */
const honoured = [
  'architectures attention_dropout bos_token_id eos_token_id head_dim hidden_size intermediate_size layer_types',
  'max_position_embeddings max_window_layers model_type num_attention_heads num_hidden_layers num_key_value_heads',
  'original_max_position_embeddings rms_norm_eps rope_parameters rope_scaling rope_theta sliding_window tie_word_embeddings',
  'use_sliding_window vocab_size',
  // OpenELM's names.
  'ffn_dim_divisor ffn_multipliers max_context_length model_dim normalize_qk_projections num_kv_heads num_query_heads',
  'num_transformer_layers rope_freq_constant share_input_output_layers',
]

/** Of training, of generation, of bookkeeping: none of it changes what a forward computes. */
const harmless = [
  '_attn_implementation _attn_implementation_autoset _flash_attn_2_enabled _name_or_path attn_implementation attn_pdrop auto_map',
  'bad_words_ids begin_suppress_tokens cache_implementation chunk_size_feed_forward classifier_dropout cross_attention_hidden_size',
  'decoder_start_token_id diversity_penalty do_sample dtype early_stopping embd_pdrop encoder_no_repeat_ngram_size',
  'exponential_decay_length_penalty ffn_dropout finetuning_task forced_bos_token_id forced_eos_token_id gradient_checkpointing',
  'hidden_dropout id2label initializer_factor initializer_range is_decoder is_llama_config label2id length_penalty max_length',
  'max_sequence_length min_length model_max_length name_or_path no_repeat_ngram_size num_beam_groups num_beams num_gqa_groups',
  'num_labels num_return_sequences output_attentions output_hidden_states output_router_logits output_scores pad_token_id prefix',
  'pretraining_tp problem_type qkv_multipliers remove_invalid_values repetition_penalty resid_pdrop return_dict',
  'return_dict_in_generate rope_max_length router_aux_loss_coef sep_token_id seq_length suppress_tokens task_specific_params',
  'temperature tf_legacy_loss tie_encoder_decoder tokenizer_class top_k top_p torch_dtype torchscript transformers.js_config',
  'transformers_version typical_p unk_token_id unsloth_fixed unsloth_version use_bfloat16 use_cache',
]

const silent = new Set([...honoured, ...harmless].flatMap((line) => line.split(' ')))

/** Throws `unsupported` for a key of a config.json whose value is not run; gives warnings. */
export function checkKeys(json: Json, model: Model, where: string): string[] {
  const unknown: string[] = []
  for (const [key, value] of Object.entries(json)) {
    if (silent.has(key)) continue
    const rule = Object.hasOwn(neutral, key) ? neutral[key] : undefined
    if (!rule) unknown.push(key)
    else if (value !== null && !rule(value, model))
      throw new ForetokenError(
        'unsupported',
        `${where}: ${key} is ${show(value)}, which changes what a ${model.architecture} model computes, and is not run`,
      )
  }
  return unknownKeys(unknown, where)
}

/** The same in a GGUF, behind `ARCHITECTURE.`. */
const neutralInGguf: Readonly<Record<string, Neutral>> = {
  use_parallel_residual: isOff,
  attn_logit_softcapping: isOff,
  final_logit_softcapping: isOff,
  router_logit_softcapping: isOff,
  logit_scale: is(0, 1),
  embedding_scale: is(0, 1),
  residual_scale: is(0, 1),
  expert_count: isOff,
  expert_used_count: isOff,
  expert_shared_count: isOff,
  leading_dense_block_count: isOff,
  nextn_predict_layers: isOff,
  swin_norm: isOff,
  'attention.causal': is(true),
  'attention.scale': (value, model) => value === 0 || inverseRoot(value, model),
  'attention.clamp_kqv': isOff,
  'attention.max_alibi_bias': isOff,
  'attention.output_scale': is(0, 1),
  'attention.temperature_length': isOff,
  'attention.q_lora_rank': isOff,
  'attention.kv_lora_rank': isOff,
  'attention.shared_kv_layers': isOff,
  'rope.scaling.attn_factor': is(0, 1),
}

/** Read where the config is made, or without a bearing on it. */
const silentInGguf = new Set(
  [
    'attention.head_count attention.head_count_kv attention.key_length attention.layer_norm_epsilon',
    'attention.layer_norm_rms_epsilon attention.sliding_window attention.value_length block_count context_length embedding_length',
    'expert_feed_forward_length expert_weights_scale feed_forward_length pooling_type rope.dimension_count rope.freq_base',
    'rope.scale_linear rope.scaling.factor rope.scaling.finetuned rope.scaling.original_context_length rope.scaling.type',
    'tensor_data_layout vocab_size',
  ].flatMap((line) => line.split(' ')),
)

/** As `checkKeys`, for the keys of a GGUF; `value` gives a number, flag or text, and an object for a list. */
export function checkGgufKeys(
  keys: Iterable<string>,
  value: (key: string) => unknown,
  model: Model,
  where: string,
): string[] {
  const prefix = `${model.architecture}.`
  const unknown: string[] = []
  for (const key of keys) {
    if (!key.startsWith(prefix)) continue
    const name = key.slice(prefix.length)
    if (silentInGguf.has(name)) continue
    const rule = Object.hasOwn(neutralInGguf, name) ? neutralInGguf[name] : undefined
    if (!rule) unknown.push(key)
    else if (!rule(value(key), model))
      throw new ForetokenError(
        'unsupported',
        `${where}: ${key} is ${show(value(key))}, which changes what a ${model.architecture} model computes, and is not run`,
      )
  }
  return unknownKeys(unknown, where)
}

function unknownKeys(keys: readonly string[], where: string): string[] {
  if (keys.length === 0) return []
  const named = keys
    .slice(0, 8)
    .map((key) => show(key))
    .join(', ')
  const more = keys.length > 8 ? ` and ${keys.length - 8} more` : ''
  return [`${where}: ${named}${more}: foretoken does not know these keys, and ran the model as if they were not there`]
}
