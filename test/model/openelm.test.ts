import { describe, expect, test } from 'vitest'
import { ForetokenError } from '../../src/base/errors.ts'
import { withLayers } from '../../src/model/layers.ts'
import { openModel } from '../../src/model/open.ts'
import fc from '../helpers/properties.ts'
import { tinyOpenElm } from '../helpers/tiny-openelm.ts'

const open = (wrong: Parameters<typeof tinyOpenElm>[1]) => openModel(tinyOpenElm({}, wrong).files)

describe('openModel on an OpenELM', () => {
  test("reads per-layer settings; the model's numbers are the maxima", async () => {
    const { config, tokenizer } = await openModel(tinyOpenElm().files)
    expect(config).toMatchObject({
      architecture: 'openelm',
      layers: 3,
      hidden: 64,
      intermediate: 160,
      heads: 4,
      kvHeads: 2,
      headDim: 16,
      rmsEps: 1e-6,
      ropePairs: 'half',
      tiedEmbedding: true,
      qkNorm: true,
      perLayer: [
        { heads: 2, kvHeads: 1, intermediate: 32 },
        { heads: 4, kvHeads: 2, intermediate: 96 },
        { heads: 4, kvHeads: 2, intermediate: 160 },
      ],
    })
    expect(tokenizer.eosIds).toEqual([2])
  })

  test('equal layers have no table', async () => {
    const { files } = tinyOpenElm({ heads: [4, 4], kvHeads: [2, 2], widths: [96, 96] })
    expect((await openModel(files)).config.perLayer).toBeUndefined()
  })

  test('a subset of its layers is a model with their shapes', async () => {
    const archive = await openModel(tinyOpenElm().files)
    const { config, tensors } = await withLayers(archive, [0, 1])
    expect(config).toMatchObject({ layers: 2, heads: 4, kvHeads: 2, intermediate: 96 })
    expect(config.perLayer).toEqual(archive.config.perLayer!.slice(0, 2))
    expect(tensors.get('layers.1.gate')).toBe(archive.tensors.get('layers.1.gate'))
    const one = await withLayers(archive, [2])
    expect(one.config).toMatchObject({ layers: 1, heads: 4, kvHeads: 2, intermediate: 160 })
    expect(one.config).not.toHaveProperty('perLayer')
  })

  test('tensors of several matrices are split by rows, and cover the file', async () => {
    const { files } = tinyOpenElm()
    const { tensors } = await openModel(files)
    const [q, k, v, gate, up] = ['q', 'k', 'v', 'gate', 'up'].map((name) => tensors.get(`layers.1.${name}`)!)
    expect([q, k, v, gate, up].map((tensor) => [tensor!.rows, tensor!.cols])).toEqual([
      [64, 64],
      [32, 64],
      [32, 64],
      [96, 64],
      [96, 64],
    ])
    for (const [before, after] of [
      [q, k],
      [k, v],
      [gate, up],
    ])
      expect(after!.offset).toBe(before!.offset + before!.rows * 64 * 4)
    const source = await files.open('model.safetensors')
    const head = new Uint8Array(8)
    await source.read(0, head)
    const data = source.size - 8 - new DataView(head.buffer).getUint32(0, true)
    expect([...tensors.values()].reduce((sum, { bytes }) => sum + bytes, 0)).toBe(data)
  })

  test('MLP widths are rounded to the divisor, and never lose a tenth', async () => {
    // The divisor is 32: 200 is nearest to 192, 96 is a multiple, and 79 is nearest to 64, which is
    // under 0.9 x 79, so 96.
    const config = { ffn_multipliers: [200 / 64, 96 / 64, 79 / 64] }
    const message = /layers\.0\.ffn\.proj_1\.weight is 64 x 64; its config asks for 384 x 64/
    await expect(open({ config })).rejects.toMatchObject({ message: expect.stringMatching(message) })
    const { files } = tinyOpenElm({ widths: [192, 96, 96] }, { config })
    const { perLayer } = (await openModel(files)).config
    expect(perLayer!.map(({ intermediate }) => intermediate)).toEqual([192, 96, 96])
  })

  const first = 'transformer.layers.0'
  const resized = (name: string, shape: number[]): Parameters<typeof tinyOpenElm>[1] => ({
    tensors: (all) => all.set(name, { shape, data: new Float32Array(shape.reduce((product, size) => product * size)) }),
  })
  const wrong: [string, Parameters<typeof tinyOpenElm>[1], string, RegExp][] = [
    [
      'a missing tensor',
      { tensors: (all) => all.delete(`${first}.attn.qkv_proj.weight`) },
      'bad_model',
      /no tensor transformer\.layers\.0\.attn\.qkv_proj\.weight \(64 x 64\)/,
    ],
    ['a missing norm', { tensors: (all) => all.delete(`${first}.attn.k_norm.weight`) }, 'bad_model', /k_norm/],
    ['a tensor too many', resized('extra', [2, 2]), 'unsupported', /openelm model has no use for: extra/],
    [
      'fused heads of another number',
      resized(`${first}.attn.qkv_proj.weight`, [48, 64]),
      'bad_model',
      /qkv_proj\.weight is 48 x 64; its config asks for 64 x 64/,
    ],
    ['gate without up', resized(`${first}.ffn.proj_1.weight`, [32, 64]), 'bad_model', /proj_1.*asks for 64 x 64/],
    ['a norm of another size', resized(`${first}.attn.q_norm.weight`, [64]), 'bad_model', /q_norm.*1 x 16/],
    ['too few heads', { config: { num_query_heads: [2, 4] } }, 'bad_model', /num_query_heads is a list of 2.*3 layers/],
    ['too many KV heads', { config: { num_kv_heads: [1, 2, 2, 2] } }, 'bad_model', /num_kv_heads is a list of 4/],
    ['one number of heads', { config: { num_query_heads: 4 } }, 'bad_model', /num_query_heads is 4/],
    ['half a head', { config: { num_query_heads: [2, 2.5, 4] } }, 'bad_model', /num_query_heads holds 2\.5/],
    ['heads as texts', { config: { num_kv_heads: ['1', 2, 2] } }, 'bad_model', /num_kv_heads holds "1"/],
    ['no heads', { config: { num_kv_heads: [1, 0, 2] } }, 'bad_model', /num_kv_heads holds 0/],
    ['nothing for heads', { config: { num_kv_heads: [1, null, 2] } }, 'bad_model', /num_kv_heads holds null/],
    ['heads that can not be shared', { config: { num_query_heads: [2, 3, 4] } }, 'bad_model', /3 heads.*2 KV/],
    ['absurd heads', { config: { num_query_heads: [2, 4, 4e9] } }, 'bad_model', /heads is 4000000000/],
    ['a negative MLP', { config: { ffn_multipliers: [1, -1, 1] } }, 'bad_model', /ffn_multipliers holds -1/],
    ['an endless MLP', { config: { ffn_multipliers: [1, 1e300, 1] } }, 'bad_model', /ffn_multipliers is/],
    ['no divisor', { config: { ffn_dim_divisor: 0 } }, 'bad_model', /ffn_dim_divisor is 0/],
    [
      'no layers',
      { config: { num_transformer_layers: 0, num_query_heads: [] } },
      'bad_model',
      /num_transformer_layers is 0/,
    ],
    ['no width', { config: { model_dim: undefined } }, 'bad_model', /model_dim is undefined, not a number/],
    ['heads that are no multiple of 8', { config: { head_dim: 12 } }, 'unsupported', /heads of 12/],
    ['another activation', { config: { activation_fn_name: 'gelu' } }, 'unsupported', /activation_fn_name.*gelu/],
    ['an MLP without a gate', { config: { ffn_with_glu: false } }, 'unsupported', /ffn_with_glu is false/],
    ['another norm', { config: { normalization_layer_name: 'layer_norm' } }, 'unsupported', /layer_norm/],
    ['a head that is not there', { config: { share_input_output_layers: false } }, 'bad_model', /lm_head\.weight/],
    ['no tokenizer', { without: 'tokenizer.json' }, 'not_found', /no tokenizer\.json; .*Llama 2/],
  ]
  test.each(wrong)('%s is refused', async (_, change, code, message) => {
    const error = await open(change).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(ForetokenError)
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) })
  })

  test('any JSON anywhere gives a model or one typed error', async () => {
    const { config } = tinyOpenElm()
    const long = fc.constant(new Array(200_000).fill(1))
    const change = fc.dictionary(fc.constantFrom(...Object.keys(config)), fc.oneof(fc.jsonValue(), long), {
      minKeys: 1,
    })
    await fc.assert(
      fc.asyncProperty(change, async (values) => {
        await open({ config: values }).catch((error: unknown) => {
          if (!(error instanceof ForetokenError)) throw error
        })
      }),
      { numRuns: 100 },
    )
  })
})
