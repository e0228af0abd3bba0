/**
 * The configurations of published checkpoints, key by key: none of them is refused, nor met with a warning. Values are the published ones
 * where they bear on what is checked, and else those of a tiny model of the same architecture.
 */
import { describe, expect, test } from 'vitest'
import { openModel } from '../../src/model/open.ts'
import type { Metadata } from '../helpers/gguf-writer.ts'
import { type TinyFolder, tinyFolder } from '../helpers/tiny-folder.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyOpenElm } from '../helpers/tiny-openelm.ts'

type Config = Readonly<Record<string, unknown>>

const shared: Config = {
  attention_dropout: 0,
  bos_token_id: 1,
  initializer_range: 0.02,
  torch_dtype: 'bfloat16',
  transformers_version: '4.45.0',
  use_cache: true,
}
const llama: Config = { ...shared, architectures: ['LlamaForCausalLM'], attention_bias: false, pretraining_tp: 1 }
const llama3: Config = {
  ...llama,
  mlp_bias: false,
  rope_theta: 500_000,
  rope_scaling: {
    factor: 32,
    high_freq_factor: 4,
    low_freq_factor: 1,
    original_max_position_embeddings: 8192,
    rope_type: 'llama3',
  },
}
const qwen2: Config = {
  ...shared,
  architectures: ['Qwen2ForCausalLM'],
  max_window_layers: 21,
  rope_theta: 1_000_000,
  sliding_window: 32_768,
  use_sliding_window: false,
}
const qwen3: Config = {
  ...shared,
  architectures: ['Qwen3ForCausalLM'],
  attention_bias: false,
  max_window_layers: 28,
  rope_scaling: null,
  rope_theta: 1_000_000,
  sliding_window: null,
  use_sliding_window: false,
}
const smollm: Config = { ...llama, is_llama_config: true, rope_interleaved: false, rope_scaling: null }
/** What transformers 4 wrote for models that were saved with all their settings. */
const everything: Config = {
  _name_or_path: '/data/checkpoints/model',
  add_cross_attention: false,
  bad_words_ids: null,
  begin_suppress_tokens: null,
  chunk_size_feed_forward: 0,
  cross_attention_hidden_size: null,
  decoder_start_token_id: null,
  diversity_penalty: 0,
  do_sample: false,
  early_stopping: false,
  encoder_no_repeat_ngram_size: 0,
  exponential_decay_length_penalty: null,
  finetuning_task: null,
  forced_bos_token_id: null,
  forced_eos_token_id: null,
  id2label: { 0: 'LABEL_0', 1: 'LABEL_1' },
  is_decoder: false,
  is_encoder_decoder: false,
  label2id: { LABEL_0: 0, LABEL_1: 1 },
  length_penalty: 1,
  max_length: 20,
  min_length: 0,
  no_repeat_ngram_size: 0,
  num_beam_groups: 1,
  num_beams: 1,
  num_return_sequences: 1,
  output_attentions: false,
  output_hidden_states: false,
  output_scores: false,
  pad_token_id: null,
  prefix: null,
  problem_type: null,
  pruned_heads: {},
  remove_invalid_values: false,
  repetition_penalty: 1,
  return_dict: true,
  return_dict_in_generate: false,
  sep_token_id: null,
  suppress_tokens: null,
  task_specific_params: null,
  temperature: 1,
  tf_legacy_loss: false,
  tie_encoder_decoder: false,
  tokenizer_class: null,
  top_k: 50,
  top_p: 1,
  torchscript: false,
  typical_p: 1,
  use_bfloat16: false,
}

describe('a published config.json is accepted', () => {
  const full = ['full_attention', 'full_attention']
  test.each<[string, NonNullable<TinyFolder['architecture']>, Config]>([
    ['Llama 2', 'llama', { ...llama, _name_or_path: 'meta-llama/Llama-2-7b-hf', rope_scaling: null }],
    ['Vicuna', 'llama', { ...llama, max_sequence_length: 2048, pad_token_id: 0, hidden_act: 'silu' }],
    ['Llama 3', 'llama', { ...llama, rope_scaling: null, rope_theta: 500_000 }],
    ['Llama 3.2', 'llama', llama3],
    ['Llama 3.2 of Unsloth', 'llama', { ...llama3, pad_token_id: 3, unsloth_fixed: true, unsloth_version: '2024.11' }],
    ['DeepSeek-R1-Distill-Llama', 'llama', llama3],
    ['TinyLlama', 'llama', { ...llama, rope_scaling: null }],
    ['SmolLM2 135M', 'llama', smollm],
    [
      'SmolLM2 135M Instruct',
      'llama',
      {
        ...smollm,
        pad_token_id: 2,
        'transformers.js_config': {
          dtype: 'q4',
          kv_cache_dtype: { q4f16: 'float16', fp16: 'float16' },
          use_external_data_format: { 'model.onnx': true },
        },
      },
    ],
    ['DeepSeek Coder', 'llama', { ...llama, rope_scaling: { factor: 4, type: 'linear' } }],
    ['Falcon 3', 'llama', { ...llama, mlp_bias: false, num_key_value_heads: 2 }],
    ['a file with all its settings', 'llama', { ...llama, ...everything }],
    [
      'a fine-tune',
      'llama',
      { ...llama3, _attn_implementation_autoset: true, neftune_noise_alpha: 5, quantization_config: null },
    ],
    ['Qwen2', 'qwen2', qwen2],
    ['Qwen2.5 7B', 'qwen2', { ...qwen2, max_window_layers: 28, sliding_window: 131_072 }],
    ['Qwen2.5 Coder', 'qwen2', { ...qwen2, use_mrope: false }],
    ['DeepSeek-R1-Distill-Qwen', 'qwen2', { ...qwen2, sliding_window: 4096, use_mrope: false }],
    ['Qwen1.5', 'qwen2', { ...qwen2, seq_length: 32_768 }],
    ['Qwen3', 'qwen3', qwen3],
    [
      'Qwen3 as transformers 5 saves it',
      'qwen3',
      { ...qwen3, dtype: 'bfloat16', layer_types: full, pad_token_id: null },
    ],
    [
      'transformers 5’s RoPE',
      'qwen3',
      {
        ...qwen3,
        rope_scaling: undefined,
        rope_theta: undefined,
        rope_parameters: { rope_theta: 1e6, rope_type: 'default' },
      },
    ],
  ])('%s', async (_, architecture, config) => {
    expect((await openModel(tinyFolder({ architecture, config }))).warnings).toEqual([])
  })

  test('OpenELM', async () => {
    const config = {
      activation_fn_name: 'swish',
      architectures: ['OpenELMForCausalLM'],
      auto_map: { AutoConfig: 'configuration_openelm.OpenELMConfig' },
      bos_token_id: 1,
      ffn_with_glu: true,
      initializer_range: 0.02,
      normalization_layer_name: 'rms_norm',
      num_gqa_groups: 4,
      qkv_multipliers: [0.5, 1],
      rope_max_length: 4096,
      torch_dtype: 'float32',
      transformers_version: '4.39.3',
      use_cache: true,
    }
    expect((await openModel(tinyOpenElm({}, { config }).files)).warnings).toEqual([])
  })
})

describe('the metadata of a published GGUF is accepted', () => {
  const u32 = (value: number): Metadata => ({ u32: value })
  const text = (value: string): Metadata => ({ text: value })
  const general: Record<string, Metadata> = {
    'general.type': text('model'),
    'general.name': text('Llama 3.2 1B Instruct'),
    'general.finetune': text('Instruct'),
    'general.basename': text('Llama-3.2'),
    'general.size_label': text('1B'),
    'general.license': text('llama3.2'),
    'general.tags': { texts: ['facebook', 'meta'] },
    'general.languages': { texts: ['en'] },
    'general.file_type': u32(15),
    'general.quantization_version': u32(2),
    'quantize.imatrix.file': text('/models_out/imatrix.dat'),
    'quantize.imatrix.entries_count': u32(112),
  }
  const written = (architecture: string, keys: Record<string, Metadata>) =>
    Object.fromEntries(Object.entries(keys).map(([key, value]) => [`${architecture}.${key}`, value]))

  test.each<['llama' | 'qwen2' | 'qwen3', Record<string, Metadata>]>([
    [
      'llama',
      {
        vocab_size: u32(259),
        'rope.dimension_count': u32(64),
        'rope.freq_base': { f32: 500_000 },
        'attention.key_length': u32(64),
        'attention.value_length': u32(64),
      },
    ],
    [
      'llama',
      { tensor_data_layout: text('Meta AI original pth'), 'rope.scale_linear': { f32: 1 }, expert_count: u32(0) },
    ],
    ['qwen2', { 'rope.freq_base': { f32: 1e6 } }],
    ['qwen3', { 'attention.key_length': u32(64), 'attention.value_length': u32(64), 'rope.freq_base': { f32: 1e6 } }],
  ])('%s %j', async (architecture, keys) => {
    const metadata = { ...general, ...written(architecture, keys) }
    expect((await openModel(tinyFiles({ architecture, metadata }))).warnings).toEqual([])
  })
})
