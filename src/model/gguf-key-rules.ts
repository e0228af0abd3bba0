/** Rules for the keys of a GGUF's configuration. */

import { words } from './key-rules.ts'
import { inverseRoot, is, isOff, type Neutral } from './neutral.ts'

/**
 * Keys of a GGUF, without their `ARCHITECTURE.`, that change the computation unless they have these
 * values.
 */
export const neutralInGguf: Readonly<Record<string, Neutral>> = {
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
  n_deepstack_layers: isOff,
  'attention.causal': is(true),
  'attention.scale': (value, model) => value === 0 || inverseRoot(value, model),
  'attention.clamp_kqv': isOff,
  'attention.max_alibi_bias': isOff,
  'attention.output_scale': is(0, 1),
  'attention.temperature_length': isOff,
  'attention.q_lora_rank': isOff,
  'attention.kv_lora_rank': isOff,
  'attention.shared_kv_layers': isOff,
}

/**
 * Keys that are honoured where the config is made, or that never change the computation of what is
 * run.
 */
export const silentInGguf = words([
  'attention.head_count attention.head_count_kv attention.key_length attention.layer_norm_epsilon',
  'attention.layer_norm_rms_epsilon attention.sliding_window attention.value_length block_count context_length embedding_length',
  'feed_forward_length classifier.output_labels pooling_type rope.dimension_count rope.freq_base',
  'rope.scale_linear rope.scaling.factor rope.scaling.finetuned rope.scaling.original_context_length rope.scaling.type',
  'rope.scaling.attn_factor tensor_data_layout vocab_size',
  // Sliding layers and YaRN are refused by the keys that ask for them.
  'attention.sliding_window_pattern rope.scaling.yarn_attn_factor rope.scaling.yarn_beta_fast rope.scaling.yarn_beta_slow',
  'rope.scaling.yarn_ext_factor rope.scaling.yarn_log_multiplier',
  // So are experts.
  'expert_feed_forward_length expert_gating_func expert_group_count expert_group_used_count expert_shared_feed_forward_length',
  'expert_weights_norm expert_weights_scale interleave_moe_layer_step moe_every_n_layers',
])
