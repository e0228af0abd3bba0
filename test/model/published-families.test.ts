/**
 * Configurations of published checkpoints of families with their own recipes: each is accepted
 * whole, and what it says is in the recipe. Shapes are those of the tiny models in test/vectors.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import type { ModelFiles } from '../../src/base/bytes.ts'
import { families, specOf } from '../../src/model/families/index.ts'
import { MetadataReader } from '../../src/model/metadata.ts'
import { openModel } from '../../src/model/open.ts'
import { memoryFiles } from '../../src/model/source.ts'

type Config = Readonly<Record<string, unknown>>

/** The folder of a tiny model with another config.json: its own shape, and all else from `config`. */
function folder(name: string, config: Config): ModelFiles {
  const read = (file: string) => readFileSync(new URL(`../vectors/${name}/${file}`, import.meta.url))
  const own: Config = JSON.parse(read('config.json').toString())
  const shape = Object.fromEntries(
    Object.entries(own).filter(([key]) =>
      /^(model_type|(hidden|intermediate|vocab)_size|num_.*|head_dim|.*_token_id|tie_word_embeddings)$/.test(key),
    ),
  )
  const json = new TextEncoder().encode(JSON.stringify({ ...config, ...shape }))
  const files = ['model.safetensors', 'tokenizer.json', 'tokenizer_config.json'].map((file) => [file, read(file)])
  return memoryFiles(name, { 'config.json': json, ...Object.fromEntries(files) })
}

async function opened(name: string, config: Config) {
  const { config: got, warnings } = await openModel(folder(name, config))
  return { config: got, warnings, spec: specOf(got) }
}

const shared: Config = {
  attention_bias: false,
  attention_dropout: 0,
  initializer_range: 0.02,
  rms_norm_eps: 1e-6,
  torch_dtype: 'bfloat16',
  transformers_version: '4.52.0',
  use_cache: true,
}
const gemma3: Config = {
  ...shared,
  architectures: ['Gemma3ForCausalLM'],
  attn_logit_softcapping: null,
  final_logit_softcapping: null,
  hidden_activation: 'gelu_pytorch_tanh',
  max_position_embeddings: 32_768,
  query_pre_attn_scalar: 256,
  rope_local_base_freq: 10_000,
  rope_scaling: null,
  rope_theta: 1e6,
  sliding_window: 512,
}
const gemma2: Config = {
  ...shared,
  architectures: ['Gemma2ForCausalLM'],
  attn_logit_softcapping: 50,
  cache_implementation: 'hybrid',
  final_logit_softcapping: 30,
  hidden_act: 'gelu_pytorch_tanh',
  hidden_activation: 'gelu_pytorch_tanh',
  max_position_embeddings: 8192,
  query_pre_attn_scalar: 256,
  rope_theta: 10_000,
  sliding_window: 4096,
}
const phi4: Config = {
  ...shared,
  architectures: ['Phi3ForCausalLM'],
  auto_map: { AutoConfig: 'configuration_phi3.Phi3Config' },
  embd_pdrop: 0,
  full_attn_mod: 1,
  hidden_act: 'silu',
  interpolate_factor: 1,
  lm_head_bias: false,
  max_position_embeddings: 131_072,
  mlp_bias: false,
  original_max_position_embeddings: 4096,
  partial_rotary_factor: 0.75,
  resid_pdrop: 0,
  rope_scaling: { long_factor: [1, 2, 3, 4, 5, 6], short_factor: [1, 1, 1, 1, 1, 1], type: 'longrope' },
  rope_theta: 10_000,
  sliding_window: 262_144,
}
const smollm3: Config = {
  ...shared,
  architectures: ['SmolLM3ForCausalLM'],
  hidden_act: 'silu',
  layer_types: new Array(4).fill('full_attention'),
  max_position_embeddings: 65_536,
  max_window_layers: 28,
  mlp_bias: false,
  no_rope_layer_interval: 4,
  no_rope_layers: [1, 1, 1, 0],
  pretraining_tp: 2,
  rope_scaling: null,
  rope_theta: 5e6,
  sliding_window: null,
  use_sliding_window: false,
}
const granite: Config = {
  ...shared,
  architectures: ['GraniteForCausalLM'],
  attention_multiplier: 0.015625,
  embedding_multiplier: 12,
  hidden_act: 'silu',
  logits_scaling: 8,
  max_position_embeddings: 131_072,
  mlp_bias: false,
  residual_multiplier: 0.22,
  rope_scaling: null,
  rope_theta: 1e7,
}
const olmo2: Config = {
  ...shared,
  architectures: ['Olmo2ForCausalLM'],
  hidden_act: 'silu',
  max_position_embeddings: 4096,
  rope_scaling: null,
  rope_theta: 500_000,
}
/** Of LFM2-350M, with the keys of its first form; later ones have layer_types and rope_parameters. */
const lfm2: Config = {
  architectures: ['Lfm2ForCausalLM'],
  block_auto_adjust_ff_dim: true,
  block_dim: 64,
  block_ff_dim: 130,
  block_ffn_dim_multiplier: 1,
  block_mlp_init_scale: 1,
  block_multiple_of: 16,
  block_norm_eps: 1e-5,
  block_out_init_scale: 1,
  block_use_swiglu: true,
  block_use_xavier_init: true,
  conv_L_cache: 3,
  conv_bias: false,
  conv_dim: 64,
  conv_dim_out: 64,
  conv_use_xavier_init: true,
  full_attn_idxs: [2, 4],
  initializer_range: 0.02,
  max_position_embeddings: 128_000,
  norm_eps: 1e-5,
  num_heads: 4,
  rope_theta: 1e6,
  torch_dtype: 'bfloat16',
  transformers_version: '4.54.0.dev0',
  use_cache: true,
  use_pos_enc: true,
}
/** This is the configuration of Hunyuan-1.8B-Instruct. */
const hunyuan: Config = {
  ...shared,
  add_classification_head: false,
  architectures: ['HunYuanDenseV1ForCausalLM'],
  class_num: 0,
  dense_list: [2048, 0],
  eod_token_id: 127_960,
  hidden_act: 'silu',
  max_position_embeddings: 262_144,
  mlp_bias: false,
  norm_type: 'rms',
  num_experts: 1,
  pool_type: 'last',
  position_embedding_xdrope: false,
  pretraining_tp: 1,
  rope_scaling: { alpha: 1000, beta_fast: 32, beta_slow: 1, factor: 1, mscale: 1, mscale_all_dim: 1, type: 'dynamic' },
  rope_theta: 10_000,
  use_cla: false,
  use_qk_norm: true,
  use_rotary_pos_emb: true,
}
const exaone4: Config = {
  ...shared,
  architectures: ['Exaone4ForCausalLM'],
  hidden_act: 'silu',
  layer_types: ['full_attention', 'full_attention'],
  max_position_embeddings: 65_536,
  rope_scaling: {
    factor: 16,
    high_freq_factor: 4,
    low_freq_factor: 1,
    original_max_position_embeddings: 8192,
    rope_type: 'llama3',
  },
  rope_theta: 1e6,
  sliding_window: null,
  sliding_window_pattern: null,
}

describe('a published config.json', () => {
  test('of Gemma 3 has two bases and windows on five of six layers, listed or by the pattern', async () => {
    const slides = [...new Array(5).fill('sliding_attention'), 'full_attention', 'sliding_attention']
    const listed = await opened('tiny-gemma3', { ...gemma3, _sliding_window_pattern: 6, layer_types: slides })
    expect(listed.warnings).toEqual([])
    const { layers, embeddingScale } = listed.spec
    expect(layers.map(({ attention }) => attention.window)).toEqual([512, 512, 512, 512, 512, undefined, 512])
    expect(layers.map(({ rope }) => rope?.theta)).toEqual([1e4, 1e4, 1e4, 1e4, 1e4, 1e6, 1e4])
    expect(embeddingScale).toBe(8)
    expect(layers[0]).toMatchObject({ activation: 'gelu', qkNorms: 'heads', attention: { scale: 1 / 16 } })
    const older = await opened('tiny-gemma3', { ...gemma3, cache_implementation: 'hybrid', sliding_window_pattern: 6 })
    expect(older.config).toEqual(listed.config)
  })

  test('of Gemma 3 4B scales the slow rotation only', async () => {
    const { spec } = await opened('tiny-gemma3', { ...gemma3, rope_scaling: { factor: 8, rope_type: 'linear' } })
    expect(spec.layers.map(({ rope }) => rope?.divisors?.[0])).toEqual([...new Array(5).fill(undefined), 8, undefined])
  })

  test('has a cap of logits and none of scores, whatever its file says, as in transformers', async () => {
    const said = async (change: Config) => (await opened('tiny-gemma3', { ...gemma3, ...change })).config
    const base = await said({ final_logit_softcapping: 30 })
    expect(base.logitSoftCap).toBe(30)
    expect(await said({ final_logit_softcapping: 30, attn_logit_softcapping: 50 })).toEqual(base)
  })

  test('of Gemma 3 with a window as long as its context keeps the fast rotation of its layers', async () => {
    const { config, spec } = await opened('tiny-gemma3', { ...gemma3, sliding_window: 32_768 })
    expect(config.windows).toBeUndefined()
    expect(spec.layers[0]!.rope!.theta).toBe(1e4)
  })

  test('of Gemma 2 has soft caps, unless it says null', async () => {
    const { spec, warnings } = await opened('tiny-gemma2', gemma2)
    expect(warnings).toEqual([])
    expect(spec.logitSoftCap).toBe(30)
    expect(spec.layers.map(({ attention }) => attention)).toEqual([
      { scale: 1 / 16, window: 4096, softCap: 50 },
      { scale: 1 / 16, softCap: 50 },
      { scale: 1 / 16, window: 4096, softCap: 50 },
    ])
    const none = await opened('tiny-gemma2', { ...gemma2, attn_logit_softcapping: null, final_logit_softcapping: null })
    expect(none.spec.logitSoftCap).toBeUndefined()
    expect(none.spec.layers[1]!.attention).toEqual({ scale: 1 / 16 })
  })

  test('of Phi-4-mini turns three quarters of a head, by other factors beyond its first context', async () => {
    const { spec, config, warnings } = await opened('tiny-phi3', phi4)
    expect(warnings).toEqual([])
    expect(config.maxContext).toBe(131_072)
    expect(spec.layers[0]!.rope).toEqual({
      headDim: 16,
      turned: 12,
      theta: 1e4,
      pairs: 'half',
      divisors: [1, 1, 1, 1, 1, 1],
      long: { beyond: 4096, divisors: [1, 2, 3, 4, 5, 6] },
      amplitude: Math.sqrt(1 + Math.log(32) / Math.log(4096)),
    })
    expect(spec.layers[0]!.attention.window).toBeUndefined()
    const linear = await opened('tiny-phi3', { ...phi4, rope_scaling: { type: 'linear', factor: 4 } })
    expect(linear.config.ropeDivisors).toEqual(new Array(6).fill(4))
    const short = await opened('tiny-phi3', { ...phi4, max_position_embeddings: 4096 })
    expect(short.config.ropeLong).toBeUndefined()
    expect(short.spec.layers[0]!.rope).not.toHaveProperty('long')
  })

  test('of SmolLM3 does not rotate every fourth layer', async () => {
    for (const change of [{}, { no_rope_layers: null }, { no_rope_layers: null, no_rope_layer_interval: null }]) {
      const { spec, warnings } = await opened('tiny-smollm3', { ...smollm3, ...change })
      expect(warnings).toEqual([])
      expect(spec.layers.map(({ rope }) => rope?.theta)).toEqual([5e6, 5e6, 5e6, undefined])
    }
  })

  test('of Granite has factors', async () => {
    const { spec, warnings } = await opened('tiny-granite', granite)
    expect(warnings).toEqual([])
    expect(spec).toMatchObject({ embeddingScale: 12, logitScale: 1 / 8 })
    expect(spec.layers[0]).toMatchObject({ residualScale: 0.22, attention: { scale: 0.015625 } })
  })

  test('of OLMo 2 has norms behind its halves only', async () => {
    const { spec, warnings } = await opened('tiny-olmo2', olmo2)
    expect(warnings).toEqual([])
    expect(spec.layers[0]).toMatchObject({ norms: { beforeAttention: false, afterMlp: true }, qkNorms: 'rows' })
  })
})

describe('a published config.json of LFM2', () => {
  test('has convolutions where no layer is listed, and an MLP of two thirds', async () => {
    const { spec, config, warnings } = await opened('tiny-lfm2', lfm2)
    expect(warnings).toEqual([])
    expect(config).toMatchObject({ convolutions: [3, 3, 0, 3, 0, 3], intermediate: 96, rmsEps: 1e-5, kvHeads: 1 })
    expect(spec.layers.map(({ convolution, kvHeads }) => [convolution?.taps, kvHeads])).toEqual(
      [3, 3, undefined, 3, undefined, 3].map((taps) => [taps, taps ? 2 : 1]),
    )
    expect(spec.layers[2]).toMatchObject({ qkNorms: 'heads', rope: { theta: 1e6, pairs: 'half' } })
  })

  test('has the same model in each of its forms', async () => {
    const { config } = await opened('tiny-lfm2', lfm2)
    const { full_attn_idxs: _, block_ff_dim: __, rope_theta: ___, ...rest } = lfm2
    const kinds = ['conv', 'conv', 'full_attention', 'conv', 'full_attention', 'conv']
    const later = { ...rest, layer_types: kinds, rope_parameters: { rope_type: 'default', rope_theta: 1e6 } }
    expect((await opened('tiny-lfm2', later)).config).toEqual(config)
    const { rope_theta: ____, ...without } = lfm2
    for (const change of [{ theta: 1e6 }, { theta: 1e6, rope_theta: 1e6 }, {}, { conv_L_cache: null }])
      expect((await opened('tiny-lfm2', { ...without, ...change })).config).toEqual(config)
    const plain = { ...lfm2, block_auto_adjust_ff_dim: false, block_ff_dim: 96 }
    expect((await opened('tiny-lfm2', plain)).config).toEqual(config)
  })

  test('of EXAONE 4 has no windows, and rotates everywhere; with windows the other layers do not', async () => {
    const { spec, warnings } = await opened('tiny-exaone4', exaone4)
    expect(warnings).toEqual([])
    expect(spec.layers[0]).toMatchObject({ norms: { beforeAttention: false, afterMlp: true }, qkNorms: 'heads' })
    expect(spec.layers.map(({ attention, rope }) => [attention.window, rope?.theta])).toEqual(
      new Array(2).fill([undefined, 1e6]),
    )
    const windows = async (change: Config) => {
      const { spec } = await opened('tiny-exaone4-windows', { ...exaone4, sliding_window: 4096, ...change })
      return spec.layers.map(({ attention, rope }) => [attention.window, rope?.theta])
    }
    const three = [...new Array(3).fill([4096, 1e6]), [undefined, undefined]]
    for (const sliding_window_pattern of [4, 'LLLG'])
      expect(await windows({ layer_types: null, sliding_window_pattern })).toEqual(three)
    const slides = ['sliding_attention', 'sliding_attention', 'sliding_attention', 'full_attention']
    expect(await windows({ layer_types: slides })).toEqual(three)
  })
})

describe('a published config.json of Hunyuan', () => {
  test('has the base that its alpha stretches, and norms behind the rotation', async () => {
    const { spec, config, warnings } = await opened('tiny-hunyuan-dense', hunyuan)
    expect(warnings).toEqual([])
    expect(config.ropeTheta).toBeCloseTo(10_000 * 1000 ** (16 / 14), 4)
    expect(spec.layers[1]).toMatchObject({ qkNorms: 'heads', qkNormsTurned: true, biases: { qkv: false } })
    expect(spec.layers[0]!.rope).not.toHaveProperty('divisors')
    const { rope_scaling, rope_theta, ...rest } = hunyuan
    const now = { ...rest, rope_parameters: { alpha: 1000, rope_theta: 10_000, rope_type: 'dynamic', factor: 1 } }
    expect((await opened('tiny-hunyuan-dense', now)).config).toEqual(config)
    const plain = await opened('tiny-hunyuan-dense', { ...hunyuan, rope_scaling: null })
    expect(plain.config.ropeTheta).toBe(10_000)
  })
})

describe('a config.json is refused by name', () => {
  test.each<[string, string, Config, RegExp]>([
    ['a window of 0', 'tiny-gemma3', { ...gemma3, sliding_window: 0 }, /sliding_window is 0; expected a number/],
    ['biases of convolutions', 'tiny-lfm2', { ...lfm2, conv_bias: true }, /conv_bias is true/],
    ['convolutions of another width', 'tiny-lfm2', { ...lfm2, conv_dim: 32 }, /conv_dim is 32/],
    ['no taps', 'tiny-lfm2', { ...lfm2, conv_L_cache: 0 }, /conv_L_cache is 0; expected a number/],
    ['half a tap', 'tiny-lfm2', { ...lfm2, conv_L_cache: 2.5 }, /conv_L_cache is 2.5; expected a number/],
    [
      'more taps than are run',
      'tiny-lfm2',
      { ...lfm2, conv_L_cache: 17 },
      /conv_L_cache is 17; expected a number of tokens, at most 16/,
    ],
    [
      'taps that the tensors lack',
      'tiny-lfm2',
      { ...lfm2, conv_L_cache: 16 },
      /conv.conv.weight is 64 x 3; .* 64 x 16/,
    ],
    ['two bases', 'tiny-lfm2', { ...lfm2, theta: 1e4 }, /theta is 10000, and rope_theta 1000000/],
    [
      'a layer beyond the last',
      'tiny-lfm2',
      { ...lfm2, full_attn_idxs: [6] },
      /full_attn_idxs is a list of 1; .* from 0 to 5/,
    ],
    [
      'a kind of layer',
      'tiny-lfm2',
      { ...lfm2, layer_types: ['mamba'] },
      /layer_types is a list of 1; expected "conv" or/,
    ],
    ['an adjustment', 'tiny-lfm2', { ...lfm2, block_auto_adjust_ff_dim: 1 }, /block_auto_adjust_ff_dim is 1/],
    [
      'letters for layers',
      'tiny-exaone4',
      { ...exaone4, sliding_window: 9, layer_types: null, sliding_window_pattern: 'LX' },
      /sliding_window_pattern is "LX"/,
    ],
    ['a pattern of 0', 'tiny-gemma3', { ...gemma3, sliding_window_pattern: 0 }, /sliding_window_pattern is 0/],
    ['another activation', 'tiny-gemma3', { ...gemma3, hidden_activation: 'silu' }, /hidden_activation is "silu"/],
    ['two directions', 'tiny-gemma2', { ...gemma2, use_bidirectional_attention: true }, /use_bidirectional_attention/],
    ['a field that is not known', 'tiny-gemma2', { ...gemma2, new_thing: 3 }, /new_thing is 3 \(an unknown key\)/],
    ['a cap below 0', 'tiny-gemma2', { ...gemma2, final_logit_softcapping: -1 }, /final_logit_softcapping is -1/],
    [
      'a scaling of sliding layers',
      'tiny-gemma3',
      { ...gemma3, rope_parameters: { full_attention: {}, sliding_attention: { rope_type: 'yarn', factor: 2 } } },
      /sliding layers have "rope_type", "yarn"/,
    ],
    ['a share above 1', 'tiny-phi3', { ...phi4, partial_rotary_factor: 1.5 }, /partial_rotary_factor is 1.5/],
    [
      'a scaling that is not run',
      'tiny-phi3',
      { ...phi4, rope_scaling: { type: 'yarn', factor: 4, attention_factor: 1.2 } },
      /rope_scaling\.type asks for RoPE scaling "yarn"/,
    ],
    [
      'a scaling with another share',
      'tiny-phi3',
      { ...phi4, rope_scaling: { type: 'linear', factor: 4, partial_rotary_factor: 1 } },
      /rope_scaling has partial_rotary_factor 1; 0\.75 is run/,
    ],
    ['a bias of the head', 'tiny-phi3', { ...phi4, lm_head_bias: true }, /lm_head_bias is true/],
    [
      'too few factors',
      'tiny-phi3',
      { ...phi4, rope_scaling: { type: 'longrope', short_factor: [2, 1], long_factor: [1] } },
      /2 factors; heads that turn 12 components take 6/,
    ],
    ['a list of other layers', 'tiny-smollm3', { ...smollm3, no_rope_layers: [1, 0] }, /no_rope_layers is a list of 2/],
    ['an alpha of -1', 'tiny-hunyuan-dense', { ...hunyuan, rope_scaling: { type: 'dynamic', alpha: -1 } }, /alpha.*-1/],
    ['no alpha', 'tiny-hunyuan-dense', { ...hunyuan, rope_scaling: { type: 'dynamic', factor: 2 } }, /"dynamic"/],
    ['shared K and V', 'tiny-hunyuan-dense', { ...hunyuan, use_cla: true }, /use_cla is true/],
    ['no norms of heads', 'tiny-hunyuan-dense', { ...hunyuan, use_qk_norm: false }, /use_qk_norm is false/],
    ['a factor of 0', 'tiny-granite', { ...granite, residual_multiplier: 0 }, /residual_multiplier is 0/],
    [
      'a tower of images',
      'tiny-gemma3',
      { ...gemma3, vision_config: { hidden_size: 1152 } },
      /vision_config.*only text/,
    ],
  ])('for %s', async (_, name, config, message) => {
    await expect(openModel(folder(name, config))).rejects.toMatchObject({ message: expect.stringMatching(message) })
  })
})

describe("a GGUF's metadata", () => {
  const read = (name: string, keys: Config) => {
    const all = Object.entries({
      block_count: 2,
      context_length: 8192,
      embedding_length: 5376,
      feed_forward_length: 64,
      vocab_size: 100,
      'attention.head_count': 32,
      'attention.head_count_kv': 16,
      'attention.key_length': 128,
      'attention.layer_norm_rms_epsilon': 1e-6,
      ...keys,
    }).map(([key, value]) => [`${name}.${key}`, value] as const)
    const metadata = new MetadataReader(new Map(all) as never, 'model.gguf')
    return families.find((family) => family.name === name)!.gguf!.read(metadata, new Map())
  }

  test('of the 27B of Gemma scales scores by hidden / heads, as llama.cpp does by its layers', async () => {
    expect((await read('gemma3', { block_count: 62 })).attentionScale).toBe(1 / Math.sqrt(168))
    expect((await read('gemma2', { block_count: 46 })).attentionScale).toBe(1 / Math.sqrt(168))
    expect((await read('gemma3', { block_count: 34 })).attentionScale).toBeUndefined()
  })

  test('of Gemma has the caps and the fast base that it names, and defaults', async () => {
    expect(await read('gemma2', {})).toMatchObject({ attentionSoftCap: 50, logitSoftCap: 30 })
    expect(await read('gemma2', { attn_logit_softcapping: 20 })).toMatchObject({
      attentionSoftCap: 20,
      logitSoftCap: 30,
    })
    expect((await read('gemma3', { 'rope.freq_base': 1e6 })).ropeThetas).toEqual([1e4, 1e4])
    expect((await read('gemma3', { 'rope.freq_base': 1e6, 'rope.freq_base_swa': 5e3 })).ropeThetas).toEqual([5e3, 5e3])
  })

  test('of LFM2 has convolutions where there are no KV heads', async () => {
    const list = (numbers: readonly number[]) => ({ count: numbers.length, numbers: async () => numbers })
    const keys = (heads: readonly number[]) => ({ block_count: 3, 'attention.head_count_kv': list(heads) as never })
    const mixed = await read('lfm2', { ...keys([0, 8, 0]), 'shortconv.l_cache': 3 })
    expect(mixed).toMatchObject({ kvHeads: 8, convolutions: [3, 0, 3] })
    expect((await read('lfm2', keys([8, 8, 8]))).convolutions).toBeUndefined()
    expect((await read('lfm2', {})).convolutions).toBeUndefined()
    await expect(read('lfm2', keys([0, 8, 0]))).rejects.toThrow(/lfm2.shortconv.l_cache is missing/)
    await expect(read('lfm2', keys([0, 8]))).rejects.toThrow(/has 2 numbers, and there are 3 layers/)
    await expect(read('lfm2', keys([0, 0, 0]))).rejects.toThrow(/one number of KV heads/)
    await expect(read('lfm2', keys([4, 8, 0]))).rejects.toThrow(/holds 4, 8 beside zeros/)
    await expect(read('lfm2', { ...keys([0, 8, 0]), block_count: 1e9 })).rejects.toThrow(
      /lfm2.block_count is 1000000000/,
    )
  })

  test('of EXAONE 4 with windows is one of 64 layers', async () => {
    const windowed = { block_count: 64, 'attention.sliding_window': 4096, 'rope.freq_base': 1e6 }
    expect((await read('exaone4', windowed)).ropeThetas?.slice(0, 5)).toEqual([1e6, 1e6, 1e6, 0, 1e6])
    expect((await read('exaone4', { block_count: 30 })).ropeThetas).toBeUndefined()
    const refused = (keys: Config) => Promise.resolve().then(() => read('exaone4', keys))
    await expect(refused({ ...windowed, block_count: 30 })).rejects.toThrow(/only files of 64 layers/)
    await expect(refused({ block_count: 64 })).rejects.toThrow(/sliding_window is missing/)
  })

  test('of Granite without factors has none', async () => {
    expect(await read('granite', { 'attention.scale': 0 })).toMatchObject({
      attentionScale: 1 / Math.sqrt(128),
      embeddingScale: 1,
      logitScale: 1,
    })
    const divided = Promise.resolve().then(() => read('granite', { logit_scale: 0 }))
    await expect(divided).rejects.toThrow(/granite\.logit_scale is 0/)
  })
})
