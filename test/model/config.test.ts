/** Numbers of a config are checked before anything is made of them, whichever file they come from. */

import { describe, expect, test } from 'vitest'
import type { ModelFiles } from '../../src/base/bytes.ts'
import { ForetokenError } from '../../src/base/errors.ts'
import type { ModelConfig } from '../../src/base/model.ts'
import { checkConfig } from '../../src/model/config.ts'
import { openModel } from '../../src/model/open.ts'
import { preparedFile } from '../../src/model/prepare.ts'
import { memoryFiles } from '../../src/model/source.ts'
import type { Metadata } from '../helpers/gguf-writer.ts'
import fc from '../helpers/properties.ts'
import { tinyFolder } from '../helpers/tiny-folder.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyOpenElm } from '../helpers/tiny-openelm.ts'
import { withValue } from '../helpers/with-value.ts'

const linear = { rope_type: 'linear', factor: 4 }
const llama3 = {
  rope_type: 'llama3',
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 64,
}

/** Fails for anything but a ForetokenError that blames the files; gives undefined for a model. */
async function refusal(files: ModelFiles): Promise<ForetokenError | undefined> {
  try {
    await openModel(files)
    return undefined
  } catch (error) {
    if (!(error instanceof ForetokenError)) throw error
    expect(['bad_model', 'unsupported', 'not_found']).toContain(error.code)
    expect(error.message.length).toBeLessThan(1000)
    return error
  }
}

describe('a config.json with an impossible head size', () => {
  const sizes = [7, 33.3, 2e8, 4e9, 2 ** 32, 2 ** 53, 1e308, -8, 0, '8', [8], true, {}]
  for (const scaling of [undefined, linear, llama3])
    test.each(sizes)(`head_dim %j with ${scaling?.rope_type ?? 'no'} scaling is refused`, async (head_dim) => {
      const error = await refusal(tinyFolder({ config: { head_dim, rope_scaling: scaling } }))
      expect(error?.code).toBe('bad_model')
    })

  test('an even head size that is not a multiple of 8 is refused', async () => {
    expect(await refusal(tinyFolder({ config: { head_dim: 12 } }))).toMatchObject({ code: 'unsupported' })
  })

  test('a hidden size that heads do not divide evenly is refused', async () => {
    const files = tinyFolder({ config: { head_dim: undefined, num_attention_heads: 3, num_key_value_heads: 3 } })
    expect(await refusal(files)).toMatchObject({
      code: 'bad_model',
      message: expect.stringMatching(/hidden_size \/ num_attention_heads is 10\.6/),
    })
  })
})

describe('a GGUF with an impossible head size', () => {
  const sizes: Metadata[] = [
    { u32: 7 },
    { f32: 33.3 },
    { u32: 2e8 },
    { u32: 4e9 },
    { u64: 2n ** 52n },
    { f32: Number.POSITIVE_INFINITY },
    { f32: Number.NaN },
    { u32: 0 },
    { text: '64' },
  ]
  test.each(sizes)('key_length %o is refused', async (size) => {
    const scaling = { 'llama.rope.scaling.type': { text: 'linear' }, 'llama.rope.scaling.factor': { f32: 4 } }
    const error = await refusal(tinyFiles({ metadata: { 'llama.attention.key_length': size, ...scaling } }))
    expect(error?.code).toBe('bad_model')
  })
})

describe('limits of a config', () => {
  const config: ModelConfig = {
    architecture: 'llama',
    layers: 2,
    hidden: 64,
    intermediate: 128,
    heads: 4,
    kvHeads: 4,
    headDim: 64,
    vocab: 100,
    maxContext: 64,
    rmsEps: 1e-5,
    ropeTheta: 1e4,
    ropePairs: 'half',
    tiedEmbedding: true,
  }
  test.each<[keyof ModelConfig, number]>([
    ['layers', 1024],
    ['hidden', 65_536],
    ['headDim', 256],
    ['vocab', 1_048_576],
    ['maxContext', 67_108_864],
    ['intermediate', 262_144],
    ['rmsEps', 1],
    ['ropeTheta', 1e15],
  ])('%s may be at most %i', (name, most) => {
    expect(() => checkConfig({ ...config, [name]: most }, 'm')).not.toThrow()
    const beyond = Number.isInteger(most) && most < 1e9 ? most + 1 : most * 1.1
    expect(() => checkConfig({ ...config, [name]: beyond }, 'm')).toThrow(new RegExp(`${name}|heads of`))
  })

  test.each(['heads', 'kvHeads'] as const)('1,024 %s are accepted, and no more', (name) => {
    const both = { heads: 1024, kvHeads: name === 'heads' ? 1 : 1024 }
    expect(() => checkConfig({ ...config, ...both }, 'm')).not.toThrow()
    expect(() => checkConfig({ ...config, ...both, [name]: 1025 }, 'm')).toThrow(/heads is 1025|kvHeads is 1025/)
  })

  test('the K and V of one token in all layers stay below 2 GiB per page', () => {
    const large = { layers: 1023, heads: 64, kvHeads: 64, headDim: 256 }
    expect(() => checkConfig({ ...config, ...large }, 'm')).not.toThrow()
    expect(() => checkConfig({ ...config, ...large, layers: 1024 }, 'm')).toThrow(/keep more for a token/)
  })

  test('so do the inputs of convolutions', () => {
    const of = (layers: number) => ({ ...config, hidden: 65_536, layers, convolutions: new Array(layers).fill(3) })
    expect(() => checkConfig(of(511), 'm')).not.toThrow()
    expect(() => checkConfig(of(512), 'm')).toThrow(/convolutions of 65536 channels, keep more for a token/)
  })

  test('a layer has up to 16 taps, and a number of channels that fills heads', () => {
    const { layers, headDim } = config
    const all = (taps: unknown) => new Array<number>(layers).fill(taps as number)
    const shape = { hidden: 4 * headDim }
    for (const taps of [0, 1, 16])
      expect(() => checkConfig({ ...config, ...shape, convolutions: all(taps) }, 'm')).not.toThrow()
    for (const taps of [17, -1, 1.5, '3', null, Number.NaN])
      expect(() => checkConfig({ ...config, ...shape, convolutions: all(taps) }, 'm')).toThrow(/taps of convolutions/)
    expect(() => checkConfig({ ...config, ...shape, convolutions: [3, ...all(3)] }, 'm')).toThrow(/for each of/)
    const odd = { ...config, hidden: 3 * headDim, convolutions: all(3) }
    expect(() => checkConfig(odd, 'm')).toThrow(/multiples of \d+ channels are run/)
  })

  test.each([0, Number.NaN, 1e-9, 1e9, Infinity, '4'])('a RoPE divisor of %s is refused', (divisor) => {
    const ropeDivisors = new Array<number>(32).fill(1)
    expect(() => checkConfig({ ...config, ropeDivisors }, 'm')).not.toThrow()
    ropeDivisors[5] = divisor as number
    expect(() => checkConfig({ ...config, ropeDivisors }, 'm')).toThrow(/RoPE scaling has 32 factors, one of them/)
  })

  test('exactly as many RoPE divisors as pairs of a head are accepted', () => {
    for (const count of [0, 31, 33, 64])
      expect(() => checkConfig({ ...config, ropeDivisors: new Array<number>(count).fill(1) }, 'm')).toThrow(/take 32/)
  })
})

/** Anything that JSON may hold, with a liking for what breaks arithmetic. */
const anything = fc.oneof(
  fc.constantFrom<unknown>(0, -1, 1, 7, 8, 33.3, 1e9, 4e9, 2 ** 31, 2 ** 32, 2 ** 53, -(2 ** 31), 1e308, 5e-324),
  fc.constantFrom<unknown>(null, true, false, '', '8', 'constructor', '__proto__', 'a'.repeat(500)),
  fc.constantFrom<unknown>([], {}, [[[[]]]], { toString: 1 }, new Array(1000).fill(1), {
    __proto__: null,
    type: 'yarn',
  }),
  fc.jsonValue(),
)

/**
 * Maximum growth of the heap over many refusals, garbage included: a loose guard against
 * allocations before the check.
 */
const heapGuard = 1 << 30

async function withoutGrowth(work: () => Promise<void>): Promise<void> {
  const before = process.memoryUsage()
  await work()
  const after = process.memoryUsage()
  expect(after.rss - before.rss).toBeLessThan(heapGuard)
}

describe('any JSON anywhere in a config.json gives a model or one typed error', () => {
  const keys = [
    'model_type num_hidden_layers hidden_size intermediate_size num_attention_heads num_key_value_heads head_dim vocab_size',
    'max_position_embeddings rms_norm_eps rope_theta rope_scaling rope_parameters hidden_act tie_word_embeddings eos_token_id',
    'layer_types sliding_window use_sliding_window max_window_layers partial_rotary_factor attention_bias mlp_bias',
    'attn_logit_softcapping original_max_position_embeddings __proto__ constructor unknown_key',
  ].flatMap((line) => line.split(' '))
  const scalingKeys = ['rope_type', 'type', 'factor', 'low_freq_factor', 'high_freq_factor', 'rope_theta']
  const scaling = fc.dictionary(fc.constantFrom(...scalingKeys, 'original_max_position_embeddings'), anything)
  const change = fc.dictionary(fc.constantFrom(...keys), fc.oneof(anything, scaling), { minKeys: 1, maxKeys: 3 })

  test.each(['llama', 'qwen2', 'qwen3'] as const)('%s', async (architecture) => {
    await withoutGrowth(() =>
      fc.assert(
        fc.asyncProperty(change, async (config) => {
          await refusal(tinyFolder({ architecture, config }))
        }),
        { numRuns: 150 },
      ),
    )
  })

  test('openelm', async () => {
    const own = Object.keys(tinyOpenElm().config)
    const change = fc.dictionary(fc.constantFrom(...own), anything, { minKeys: 1, maxKeys: 3 })
    await withoutGrowth(() =>
      fc.assert(
        fc.asyncProperty(change, async (config) => {
          await refusal(tinyOpenElm({}, { config }).files)
        }),
        { numRuns: 100 },
      ),
    )
  })

  test('generation_config.json and tokenizer_config.json', async () => {
    const names = ['eos_token_id', 'eos_token', 'bos_token', 'add_bos_token', 'chat_template']
    const change = fc.dictionary(fc.constantFrom(...names), anything, { minKeys: 1 })
    await fc.assert(
      fc.asyncProperty(change, change, async (settings, generation) => {
        await refusal(tinyFolder({ settings, files: { 'generation_config.json': generation } }))
      }),
      { numRuns: 100 },
    )
  })
})

test('any value of any type anywhere in a GGUF gives a model or one typed error', async () => {
  const keys = [
    'block_count embedding_length feed_forward_length attention.head_count attention.head_count_kv attention.key_length',
    'attention.value_length attention.layer_norm_rms_epsilon rope.freq_base rope.dimension_count rope.scaling.type',
    'rope.scaling.factor rope.scale_linear context_length attention.sliding_window attn_logit_softcapping expert_count',
  ].flatMap((line) => line.split(' '))
  const names = [...keys.map((key) => `llama.${key}`), 'general.architecture', 'general.alignment', 'split.count']
  const tokens = ['model', 'pre', 'tokens', 'token_type', 'merges', 'eos_token_id', 'bos_token_id', 'add_bos_token']
  const value: fc.Arbitrary<Metadata> = fc.oneof(
    fc.constantFrom(0, 7, 8, 33, 2e8, 4e9, 2 ** 32 - 1).map((u32) => ({ u32 })),
    fc.constantFrom(0n, 2n ** 40n, 2n ** 53n - 1n).map((u64) => ({ u64 })),
    fc.oneof(fc.float(), fc.constantFrom(33.3, 1e30, Number.NaN, Infinity, -1)).map((f32) => ({ f32 })),
    fc.string({ maxLength: 20 }).map((text) => ({ text })),
    fc.boolean().map((flag) => ({ flag })),
    fc.array(fc.string({ maxLength: 3 }), { maxLength: 400 }).map((texts) => ({ texts })),
    fc.array(fc.nat(5), { maxLength: 400 }).map((ints) => ({ ints })),
  )
  const all = [...names, ...tokens.map((name) => `tokenizer.ggml.${name}`)]
  const change = fc.dictionary(fc.constantFrom(...all), fc.option(value, { nil: undefined }), {
    minKeys: 1,
    maxKeys: 3,
  })
  await fc.assert(
    fc.asyncProperty(change, async (metadata) => {
      await refusal(tinyFiles({ layers: 1, metadata }))
    }),
    { numRuns: 80 },
  )
})

test('any JSON anywhere in a prepared head gives a model or one typed error', async () => {
  const archive = await openModel(tinyFiles({ layers: 1 }))
  const whole: Uint8Array[] = []
  for await (const piece of preparedFile(archive, new Uint32Array(0)).pieces()) whole.push(piece.slice())
  const bytes = Uint8Array.from(Buffer.concat(whole))
  const length = new DataView(bytes.buffer).getUint32(8, true)
  const head = JSON.parse(new TextDecoder().decode(bytes.subarray(16, 16 + length)))
  const rest = bytes.subarray(Math.ceil((16 + length) / 64) * 64)
  const paths = [
    ...Object.keys(head.config).map((key) => ['config', key]),
    ...['perLayer', 'ropeDivisors', 'tailFrom', 'qkNorm', '__proto__'].map((key) => ['config', key]),
    ...Object.keys(head.tokenizer).map((key) => ['tokenizer', key]),
    ...['tokens', 'tensors', 'config', 'tokenizer'].map((key) => [key]),
    ['tokenizer', 'json', 'model'],
    ['tokenizer', 'json', 'added_tokens'],
    ['tokens', '3'],
    ['tensors', '0'],
  ]
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...paths), anything, async (path, value) => {
      const text = new TextEncoder().encode(JSON.stringify(withValue(head, path, value)))
      const front = new Uint8Array(Math.ceil((16 + text.length) / 64) * 64)
      front.set(bytes.subarray(0, 16))
      front.set(text, 16)
      new DataView(front.buffer).setUint32(8, text.length, true)
      await refusal(memoryFiles('tiny', { 'w.foretoken': Uint8Array.from(Buffer.concat([front, rest])) }))
    }),
    { numRuns: 200 },
  )
})
