/**
 * Rules for keys of a model's configuration: which are known, and which of their values change
 * nothing.
 */
import { inverseRoot, is, isEmpty, isNear, isOff, isOne, type Neutral } from './neutral.ts'

/** Keys of config.json that change the computation unless they have these values. */
const neutralValues: Readonly<Record<string, Neutral>> = {
  hidden_act: is('silu', 'swish'),
  hidden_activation: is('silu', 'swish'),
  activation_function: is('silu', 'swish'),
  mlp_bias: isOff,
  attention_bias: is(false),
  qkv_bias: is(false),
  use_bias: isOff,
  bias: isOff,
  attn_bias: isOff,
  ffn_bias: isOff,
  attention_out_bias: isOff,
  v_head_dim: isNear(({ headDim }) => headDim),
  partial_rotary_factor: isOne,
  rotary_pct: isOne,
  rotary_emb_fraction: isOne,
  rotary_dim: isNear(({ headDim }) => headDim),
  rope_interleaved: isOff,
  rope_traditional: isOff,
  rope_percent: isOne,
  rope_ratio: isOne,
  rope_type: is('default'),
  use_rope: is(true),
  use_mrope: isOff,
  position_embedding_type: is('rope', 'rotary'),
  alibi: isOff,
  use_alibi: isOff,
  is_causal: is(true),
  use_bidirectional_attention: isOff,
  use_rms_norm: is(true),
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
  use_qk_norm: is(false),
  qk_norm: is(false),
  qk_layernorm: is(false),
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
  quantization_config: isEmpty,
  quantization: isEmpty,
  compression_config: isEmpty,
  expert_layer_period: isOff,
}

/** Keys that every reader of a config.json honours. */
const honouredKeys = [
  'bos_token_id eos_token_id head_dim layer_types max_window_layers model_type original_max_position_embeddings',
  'rope_parameters rope_scaling sliding_window use_sliding_window vocab_size',
]

/**
 * Keys of bookkeeping, training, generation and other runtimes: they don't change what a forward
 * computes.
 */
const harmlessKeys = [
  // Bookkeeping of transformers.
  '_attn_implementation _attn_implementation_autoset _attn_implementation_internal _commit_hash _flash_attn_2_enabled',
  '_name_or_path architectures attn_implementation auto_map chunk_size_feed_forward dtype finetuning_task flash_attention id2label',
  'ignore_index is_composition is_decoder is_llama_config keys_to_ignore_at_inference label2id language library_name license',
  'model_name name name_or_path num_labels onnx output_attentions output_hidden_states output_router_logits output_scores',
  'pretraining_tp problem_type return_dict return_dict_in_generate task_specific_params tf_legacy_loss tokenizer_class tokenizer_path',
  'torch_dtype torchscript transformers.js_config transformers_version use_bfloat16 use_cache use_flash_attn use_flash_attention',
  'use_flash_attention_2 use_return_dict use_sdpa _use_flash_attention_2',
  // Lengths that only tokenizers and training read.
  'max_seq_len max_seq_length max_sequence_length model_max_length n_ctx seq_len seq_length training_sequence_length',
  // Tokens; those that end an answer are honoured.
  'bos_token decoder_start_token_id eos_token forced_bos_token_id forced_eos_token_id mask_token_id pad_token pad_token_id prefix',
  'sep_token_id unk_token unk_token_id',
  // Training: initial values, dropout, losses.
  'attention_dropout attention_dropout_prob attention_probs_dropout_prob attn_dropout attn_pdrop classifier_dropout dropout embd_pdrop',
  'embed_dropout embedding_dropout ffn_dropout fused_bias_fc fused_dropout_add_ln fused_mlp gradient_checkpointing hidden_dropout',
  'hidden_dropout_prob initializer_factor initializer_range initializer_std mlp_dropout neftune_noise_alpha resid_pdrop resid_dropout',
  'residual_dropout router_aux_loss_coef router_jitter_noise sample_packing summary_activation summary_first_dropout',
  'summary_proj_to_labels summary_type summary_use_proj tie_encoder_decoder unsloth_fixed unsloth_version z_loss_weight',
  // Generation, which a request decides.
  'assistant_confidence_threshold bad_words_ids begin_suppress_tokens cache_config cache_implementation constraints',
  'diversity_penalty do_sample early_stopping encoder_no_repeat_ngram_size encoder_repetition_penalty epsilon_cutoff eta_cutoff',
  'exponential_decay_length_penalty force_words_ids frequency_penalty guidance_scale length_penalty low_memory max_length max_new_tokens',
  'max_time min_length min_new_tokens min_p no_repeat_ngram_size num_assistant_tokens num_assistant_tokens_schedule num_beam_groups',
  'num_beams num_return_sequences penalty_alpha presence_penalty remove_invalid_values renormalize_logits repetition_penalty',
  'sequence_bias suppress_tokens temperature token_healing top_k top_p typical_p',
  // What only experts and encoders have; the keys that say that there are some are refused.
  'cross_attention_hidden_size decoder_sparse_step mlp_only_layers moe_intermediate_size norm_topk_prob num_experts_per_tok',
  'shared_expert_intermediate_size topk_method',
]

/** Rules of a family for the keys of config.json. */
export interface KeyRules {
  /** Keys that may have any value: they are honoured, or never change the computation. */
  readonly silent: ReadonlySet<string>
  /** Keys that change the computation unless they have certain values. */
  readonly neutral: Readonly<Record<string, Neutral>>
}

/**
 * Returns the rules of a family: the common ones, the keys that it honours, keys that are harmless
 * in it, and keys with other harmless values. Each list holds names with spaces between them.
 */
export function keyRules(
  honoured: readonly string[],
  harmless: readonly string[] = [],
  neutral: Readonly<Record<string, Neutral>> = {},
): KeyRules {
  return {
    silent: words(honouredKeys, honoured, harmless, harmlessKeys),
    neutral: { ...neutralValues, ...neutral },
  }
}

/** Returns the words of several lists as a set. */
export function words(...lists: readonly (readonly string[])[]): ReadonlySet<string> {
  return new Set(lists.flat().flatMap((line) => line.split(' ')))
}
