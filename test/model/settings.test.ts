/**
 * Settings of a model's computation are honoured, accepted if they change nothing, or refused by
 * name.
 */
import { describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine } from '../../src/index.ts'
import { openModel } from '../../src/model/open.ts'
import { memoryFiles } from '../../src/model/source.ts'
import type { Metadata } from '../helpers/gguf-writer.ts'
import { type TinyFolder, tinyFolder } from '../helpers/tiny-folder.ts'
import { tinyFiles, tinyGguf } from '../helpers/tiny-model.ts'
import { tinyOpenElm } from '../helpers/tiny-openelm.ts'

const wasm = await loadWasm('simd128')

async function logitsOf(folder: TinyFolder): Promise<Float32Array> {
  const engine = await Engine.load(tinyFolder(folder), { wasm, context: 32 })
  const logits = await engine.logits([5, 9, 200])
  await engine.close()
  return logits
}

describe('the output head', () => {
  const withHead = (of: (embedding: Float32Array) => Float32Array): TinyFolder['tensors'] => {
    return (all) => {
      const embedding = all.get('model.embed_tokens.weight')!
      all.set('lm_head.weight', { shape: embedding.shape, data: of(embedding.data) })
    }
  }
  const other = withHead((data) => data.map((value) => -value))

  test('is refused if it must be separate and is missing', async () => {
    const error = { code: 'bad_model', message: expect.stringMatching(/no tensor lm_head\.weight/) }
    await expect(openModel(tinyFolder({ config: { tie_word_embeddings: false } }))).rejects.toMatchObject(error)
    const elm = tinyOpenElm({}, { config: { share_input_output_layers: false } })
    await expect(openModel(elm.files)).rejects.toMatchObject(error)
  })

  test('is used if stored and different, with a warning that names it', async () => {
    const tensors = other!
    const { config, warnings } = await openModel(tinyFolder({ tensors }))
    expect(config.tiedEmbedding).toBe(false)
    expect(warnings).toEqual([expect.stringMatching(/lm_head\.weight differs from model\.embed_tokens\.weight/)])
    const own = await logitsOf({ tensors, config: { tie_word_embeddings: false } })
    expect(await logitsOf({ tensors })).toEqual(own)
    expect(await logitsOf({})).not.toEqual(own)
  })

  test('is not replaced by the embedding if it differs in its last value only', async () => {
    const tensors = withHead((data) => data.map((value, i) => (i === data.length - 1 ? value + 1 : value)))!
    expect((await openModel(tinyFolder({ tensors }))).config.tiedEmbedding).toBe(false)
  })

  test('is the embedding if the stored one equals it', async () => {
    const archive = await openModel(tinyFolder({ tensors: withHead((data) => data)! }))
    expect(archive).toMatchObject({ config: { tiedEmbedding: true }, warnings: [] })
    expect(archive.tensors.has('head')).toBe(false)
  })

  test('without a setting is the stored one, or else the embedding, with a warning', async () => {
    const config = { tie_word_embeddings: undefined }
    const silent = await openModel(tinyFolder({ config }))
    expect(silent).toMatchObject({ config: { tiedEmbedding: true }, warnings: [expect.stringMatching(/does not say/)] })
    const stored = await openModel(tinyFolder({ config, tensors: other! }))
    expect(stored).toMatchObject({ config: { tiedEmbedding: false }, warnings: [] })
  })

  test.each(['true', 1, 0, {}])('with tying set to %j is refused', async (tie_word_embeddings) => {
    await expect(openModel(tinyFolder({ config: { tie_word_embeddings } }))).rejects.toMatchObject({
      code: 'bad_model',
    })
  })
})

describe('RoPE scaling', () => {
  const divisors = async (config: Record<string, unknown>) =>
    (await openModel(tinyFolder({ config }))).config.ropeDivisors
  const gguf = async (metadata: Record<string, Metadata>) =>
    (await openModel(tinyFiles({ metadata }))).config.ropeDivisors

  test('a factor is linear, with a type and without, in every file format', async () => {
    const folder = [4, 4, 4, 4]
    expect(await divisors({ rope_scaling: { type: 'linear', factor: 4 } })).toEqual(folder)
    expect(await divisors({ rope_scaling: { rope_type: 'linear', factor: 4 } })).toEqual(folder)
    expect(await divisors({ rope_scaling: { factor: 4 } })).toEqual(folder)
    expect(await divisors({ rope_scaling: { factor: 4, rope_type: null } })).toEqual(folder)
    expect(await divisors({ rope_parameters: { factor: 4, rope_theta: 10_000 } })).toEqual(folder)
    const four = new Array<number>(32).fill(4)
    expect(
      await gguf({ 'llama.rope.scaling.type': { text: 'linear' }, 'llama.rope.scaling.factor': { f32: 4 } }),
    ).toEqual(four)
    expect(await gguf({ 'llama.rope.scaling.factor': { f32: 4 } })).toEqual(four)
    expect(await gguf({ 'llama.rope.scale_linear': { f32: 4 } })).toEqual(four)
  })

  test('null means no scaling', async () => {
    expect(await divisors({ rope_scaling: null })).toBeUndefined()
    expect(await divisors({ rope_scaling: { rope_type: 'default', factor: 4 } })).toBeUndefined()
    expect(await divisors({ rope_parameters: { rope_type: 'default', rope_theta: 10_000 } })).toBeUndefined()
    expect(
      await gguf({ 'llama.rope.scaling.type': { text: 'none' }, 'llama.rope.scaling.factor': { f32: 4 } }),
    ).toBeUndefined()
    expect(await gguf({ 'llama.rope.scaling.factor': { f32: 0 } })).toBeUndefined()
    expect(await gguf({ 'llama.rope.scale_linear': { f32: 1 } })).toBeUndefined()
  })

  test('factors of each frequency and a linear factor multiply', async () => {
    const factors = Float32Array.from({ length: 32 }, (_, i) => 1 + i)
    const bytes = new Uint8Array(factors.buffer)
    const tensor = { name: 'rope_freqs.weight', type: 'f32' as const, dims: [32], bytes }
    const files = tinyFiles({ metadata: { 'llama.rope.scale_linear': { f32: 2 } }, tensors: (all) => [...all, tensor] })
    expect((await openModel(files)).config.ropeDivisors).toEqual(Array.from(factors, (factor) => 2 * factor))
  })

  test('the base is read where transformers 5 writes it, and refused if given twice', async () => {
    const rope_parameters = { rope_type: 'default', rope_theta: 5e5 }
    const inner = await openModel(tinyFolder({ config: { rope_theta: undefined, rope_parameters } }))
    expect(inner.config.ropeTheta).toBe(5e5)
    await expect(openModel(tinyFolder({ config: { rope_parameters } }))).rejects.toMatchObject({
      code: 'bad_model',
      message: expect.stringMatching(/rope_theta is 10000, and 500000 in rope_parameters/),
    })
  })

  test('llama3 accepts the original context beside the scaling, too', async () => {
    const scaling = { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4 }
    const whole = await divisors({ rope_scaling: { ...scaling, original_max_position_embeddings: 64 } })
    expect(await divisors({ rope_scaling: scaling, original_max_position_embeddings: 64 })).toEqual(whole)
    expect(new Set(whole)).not.toEqual(new Set([1]))
    await expect(divisors({ rope_scaling: scaling })).rejects.toThrow(/original_max_position_embeddings is undefined/)
  })

  test.each([
    [{ rope_scaling: { type: 'yarn', factor: 4 } }, 'unsupported', /scaling "yarn"/],
    [{ rope_scaling: { rope_type: 'dynamic', factor: 4 } }, 'unsupported', /scaling "dynamic"/],
    [
      { rope_scaling: { type: 'longrope', short_factor: [1], long_factor: [1] } },
      'bad_model',
      /original_max_position_embeddings is undefined/,
    ],
    [{ rope_scaling: { type: 'su' } }, 'bad_model', /short_factor is undefined/],
    [
      {
        rope_scaling: {
          ...{ type: 'longrope', short_factor: [1, 1, 1], long_factor: [1, 1, 1, 1] },
          original_max_position_embeddings: 64,
        },
      },
      'bad_model',
      /3 factors; heads that turn 8 components take 4/,
    ],
    [
      {
        rope_scaling: {
          ...{ type: 'longrope', short_factor: [1, 1, 1, 1], long_factor: [1, 1, 0, 1] },
          original_max_position_embeddings: 64,
        },
      },
      'bad_model',
      /4 factors, one of them 0;/,
    ],
    [
      {
        rope_scaling: { type: 'longrope', short_factor: [1, 1, 1, 1], long_factor: [1, 1, 1, 1] },
        original_max_position_embeddings: -3,
      },
      'bad_model',
      /: original_max_position_embeddings is -3; expected a number of tokens/,
    ],
    [
      {
        rope_scaling: {
          ...{ type: 'longrope', short_factor: [1, 1, 1, 1], long_factor: [1, 1, 1, 1], long_mscale: 1.2 },
          original_max_position_embeddings: 64,
        },
      },
      'unsupported',
      /long_mscale is 1.2; one attention_factor/,
    ],
    [
      { rope_scaling: { type: 'longrope', short_factor: [1, 1, 1, 1], original_max_position_embeddings: 64 } },
      'bad_model',
      /long_factor is undefined; expected a list of numbers/,
    ],
    [
      { rope_scaling: { type: 'longrope', short_factor: ['1'], original_max_position_embeddings: 64 } },
      'bad_model',
      /short_factor is a list of 1; expected a list of numbers/,
    ],
    [{ rope_parameters: { full_attention: { rope_type: 'default' } } }, 'unsupported', /differs by layers/],
    [
      { rope_parameters: { rope_type: 'linear', factor: 2, partial_rotary_factor: 0.5 } },
      'unsupported',
      /partial_rotary_factor 0\.5/,
    ],
    [{ rope_scaling: { type: 'linear', factor: 0 } }, 'bad_model', /factor is 0/],
    [{ rope_scaling: { type: 'linear', factor: 5000 } }, 'bad_model', /factor is 5000/],
    [{ rope_scaling: { type: 'linear', factor: '4' } }, 'bad_model', /factor is "4"/],
    [{ rope_scaling: 4 }, 'bad_model', /rope_scaling is 4, not an object/],
  ])('%j is refused', async (config, code, message) => {
    await expect(openModel(tinyFolder({ config }))).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    })
  })

  test.each(['long', 'short'])('LongRoPE in a GGUF with its %s factors alone is refused', async (kind) => {
    const factors = new Uint8Array(new Float32Array(32).fill(2).buffer)
    const name = `rope_factors_${kind}.weight`
    const files = tinyFiles({ tensors: (all) => [...all, { name, type: 'f32', dims: [32], bytes: factors }] })
    await expect(openModel(files)).rejects.toMatchObject({
      code: 'bad_model',
      message: expect.stringMatching(/rope_factors_(long|short).weight is missing, beside the other of LongRoPE/),
    })
  })

  test.each(['yarn', 'longrope', 'dynamic'])('%s in a GGUF is refused', async (type) => {
    await expect(gguf({ 'llama.rope.scaling.type': { text: type } })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(new RegExp(type)),
    })
  })
})

describe('a setting that changes the computation is refused by name', () => {
  test.each<[string, TinyFolder]>([
    ['hidden_act', { config: { hidden_act: 'gelu' } }],
    ['partial_rotary_factor', { config: { partial_rotary_factor: 0.5 } }],
    ['layer_types', { config: { layer_types: ['full_attention', 'linear_attention'] } }],
    ['attention_bias', { config: { attention_bias: true } }],
    ['attention_bias', { architecture: 'qwen3', config: { attention_bias: true } }],
    ['mlp_bias', { config: { mlp_bias: true } }],
    ['attn_logit_softcapping', { config: { attn_logit_softcapping: 50 } }],
    ['final_logit_softcapping', { config: { final_logit_softcapping: 30 } }],
    ['query_pre_attn_scalar', { config: { query_pre_attn_scalar: 256 } }],
    ['logits_scaling', { config: { logits_scaling: 8 } }],
    ['num_local_experts', { config: { num_local_experts: 8 } }],
    ['rope_interleaved', { config: { rope_interleaved: true } }],
    ['quantization_config', { config: { quantization_config: { bits: 4 } } }],
    ['no_rope_layers', { config: { no_rope_layers: [1, 0] } }],
  ])('%s', async (key, folder) => {
    await expect(openModel(tinyFolder(folder))).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(new RegExp(key)),
    })
  })

  test.each<[string, Metadata]>([
    ['attn_logit_softcapping', { f32: 50 }],
    ['final_logit_softcapping', { f32: 30 }],
    ['expert_count', { u32: 8 }],
    ['logit_scale', { f32: 0.25 }],
    ['attention.scale', { f32: 1 }],
    ['attention.causal', { flag: false }],
    ['rope.scaling.attn_factor', { f32: 1.5 }],
    ['rope.dimension_count', { u32: 32 }],
    ['attention.value_length', { u32: 32 }],
  ])('%s of a GGUF', async (key, value) => {
    const name = key === 'rope.dimension_count' || key === 'attention.value_length' ? 'heads of 64' : key
    await expect(openModel(tinyFiles({ metadata: { [`llama.${key}`]: value } }))).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining(name),
    })
  })
})

describe('a setting that changes nothing is accepted silently', () => {
  test.each<[string, TinyFolder]>([
    [
      'its plain values',
      { config: { hidden_act: 'swish', attention_bias: false, mlp_bias: false, partial_rotary_factor: 1 } },
    ],
    [
      'null',
      { config: { attn_logit_softcapping: null, quantization_config: null, layer_types: null, sliding_window: null } },
    ],
    ['full attention', { config: { layer_types: ['full_attention', 'full_attention'], sliding_window: 4 } }],
    [
      'a window as long as the context',
      { config: { layer_types: ['sliding_attention', 'full_attention'], sliding_window: 256 } },
    ],
    ['a window that is not used', { architecture: 'qwen2', config: { use_sliding_window: false, sliding_window: 4 } }],
    [
      'a window from a layer on that is not there',
      { architecture: 'qwen2', config: { use_sliding_window: true, sliding_window: 4, max_window_layers: 28 } },
    ],
    [
      'a scale that is the usual one',
      { config: { query_pre_attn_scalar: 8, attention_multiplier: 1 / Math.sqrt(8), logits_scaling: 1 } },
    ],
    ['no experts', { config: { num_experts: 0, num_local_experts: 0 } }],
    ['biases that Qwen 2 has anyway', { architecture: 'qwen2', config: { attention_bias: true } }],
    [
      'training and generation',
      { config: { torch_dtype: 'bfloat16', initializer_range: 0.02, use_cache: true, temperature: 0.6 } },
    ],
  ])('%s', async (_, folder) => {
    expect((await openModel(tinyFolder(folder))).warnings).toEqual([])
  })

  test('of a GGUF', async () => {
    const metadata: Record<string, Metadata> = {
      'llama.attention.sliding_window': { u32: 256 },
      'llama.attention.causal': { flag: true },
      'llama.attention.scale': { f32: 1 / 8 },
      'llama.expert_count': { u32: 0 },
      'llama.rope.dimension_count': { u32: 64 },
      'llama.attention.value_length': { u32: 64 },
      'llama.vocab_size': { u32: 259 },
      'general.name': { text: 'tiny' },
      'general.file_type': { u32: 0 },
    }
    expect((await openModel(tinyFiles({ metadata }))).warnings).toEqual([])
  })
})

describe('a tensor', () => {
  const extra = (name: string, length = 32): TinyFolder => {
    return { tensors: (all) => all.set(name, { shape: [length], data: new Float32Array(length) }) }
  }
  test.each([
    'model.layers.0.self_attn.q_proj.bias',
    'model.layers.1.self_attn.o_proj.bias',
    'model.layers.0.mlp.gate_proj.bias',
    'model.layers.0.self_attn.q_norm.weight',
    'model.layers.0.post_feedforward_layernorm.weight',
    'model.layers.0.mlp.experts.0.w1.weight',
    'model.layers.2.input_layernorm.weight',
    'model.layers.0.self_attn.rotary_emb.cos_cached',
  ])('that the family does not use is refused by name: %s', async (name) => {
    await expect(openModel(tinyFolder(extra(name)))).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining(name),
    })
  })

  test.each(['blk.0.attn_q.bias', 'blk.0.attn_output.bias', 'blk.0.ffn_gate_inp.weight'])(
    'of a GGUF that the family does not use is refused by name: %s',
    async (name) => {
      const files = tinyFiles({ tensors: (all) => [...all, { ...all[1]!, name }] })
      await expect(openModel(files)).rejects.toMatchObject({
        code: 'unsupported',
        message: expect.stringContaining(name),
      })
    },
  )

  test('that follows from the config is ignored', async () => {
    await expect(openModel(tinyFolder(extra('model.layers.0.self_attn.rotary_emb.inv_freq', 4)))).resolves.toBeDefined()
    await expect(openModel(tinyFolder(extra('model.layers.0.self_attn.masked_bias', 1)))).resolves.toBeDefined()
  })

  test('whose name holds control characters is reported with them escaped', async () => {
    await expect(openModel(tinyFolder(extra('a\u001b[2Jb')))).rejects.toMatchObject({
      message: expect.not.stringContaining('\u001b'),
    })
  })
})

test('a big-endian GGUF is reported as such', async () => {
  const bytes = tinyGguf().slice()
  const swapped = Uint8Array.from([...bytes.subarray(0, 4), ...bytes.subarray(4, 8).toReversed(), ...bytes.subarray(8)])
  const reversed = Uint8Array.from([...bytes.subarray(0, 4).toReversed(), ...swapped.subarray(4)])
  for (const file of [swapped, reversed])
    await expect(openModel(memoryFiles('m', { 'm.gguf': file }))).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(/big-endian/),
    })
})

describe('a projector of images', () => {
  const projector = tinyGguf({ metadata: { 'general.architecture': { text: 'clip' } } })

  test('beside a model is not used, with a warning', async () => {
    const files = memoryFiles('both', { 'mmproj-model-f16.gguf': projector, 'model-q4_0.gguf': tinyGguf() })
    const { warnings } = await openModel(files)
    expect(warnings).toEqual([
      'both: mmproj-model-f16.gguf is for images and not used: only the text of model-q4_0.gguf is run',
    ])
    const two = { 'a.gguf': tinyGguf(), 'b.gguf': tinyGguf(), 'mmproj.gguf': projector }
    await expect(openModel(memoryFiles('two', two))).rejects.toThrow(/2 GGUF files \(a\.gguf, b\.gguf\); name one/)
  })

  test('alone is refused with the file to use', async () => {
    await expect(openModel(memoryFiles('one', { 'mmproj.gguf': projector }))).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(/only text is run: use the GGUF of the model itself.*without mmproj in its name/),
    })
  })
})

test('a GGUF tells its licence', async () => {
  const link = 'https://example.com/terms'
  const metadata = { 'general.license': { text: 'apache-2.0' }, 'general.license.link': { text: link } }
  expect((await openModel(tinyFiles({ metadata }))).licence).toBe(`apache-2.0, ${link}`)
  expect((await openModel(tinyFiles({ metadata: { 'general.license': { u32: 3 } } }))).licence).toBeUndefined()
})

test('a folder without a tokenizer names the next step', async () => {
  const files = tinyFolder()
  const without = { ...files, files: files.files.filter((file) => file !== 'tokenizer.json') }
  await expect(openModel(without)).rejects.toThrow(/has no tokenizer\.json; get it with the other files of the model/)
})
