import { describe, expect, test } from 'vitest'
import { ForetokenError } from '../../src/base/errors.ts'
import { openModel } from '../../src/model/open.ts'
import { memoryFiles } from '../../src/model/source.ts'
import fc from '../helpers/properties.ts'
import { tinyFiles, tinyGguf, tinyVocab } from '../helpers/tiny-model.ts'

const open = (bytes: Uint8Array) => openModel(memoryFiles('m', { 'm.gguf': bytes }))

describe('openModel on a GGUF', () => {
  test.each(['llama', 'qwen2', 'qwen3'] as const)('%s', async (architecture) => {
    const archive = await openModel(tinyFiles({ architecture }))
    expect(archive.config).toMatchObject({
      architecture,
      layers: 2,
      headDim: 64,
      vocab: tinyVocab,
      ropePairs: architecture === 'llama' ? 'adjacent' : 'half',
      tiedEmbedding: true,
    })
    expect(archive.tensors.get('layers.1.down')).toMatchObject({ rows: 256, cols: 512, type: 'f32' })
    expect(archive.tokenizer.eosIds).toEqual([256, 258])
    expect(archive.fingerprint).toMatch(/^[0-9a-f]{64}$/)
    expect((await openModel(tinyFiles({ architecture, seed: 9 }))).fingerprint).toBe(archive.fingerprint)
    expect((await openModel(tinyFiles({ architecture, type: 'q8_0' }))).fingerprint).not.toBe(archive.fingerprint)
  })

  const wrong: [string, Parameters<typeof tinyGguf>[0], string, RegExp][] = [
    [
      'another architecture',
      { metadata: { 'general.architecture': { text: 'mamba' } } },
      'unsupported',
      /mamba.*llama, qwen2, qwen3/,
    ],
    [
      'no architecture',
      { metadata: { 'general.architecture': undefined } },
      'bad_model',
      /general\.architecture is missing/,
    ],
    [
      'a text for a number',
      { metadata: { 'llama.block_count': { text: 'two' } } },
      'bad_model',
      /block_count is string/,
    ],
    ['no layers', { metadata: { 'llama.block_count': { u32: 0 } } }, 'bad_model', /llama.block_count is 0/],
    [
      'absurd layers',
      { metadata: { 'llama.block_count': { u32: 4e9 } } },
      'bad_model',
      /llama.block_count is 4000000000/,
    ],
    [
      'heads that can not be shared',
      { metadata: { 'llama.attention.head_count_kv': { u32: 3 } } },
      'bad_model',
      /4 heads.*3 KV/,
    ],
    ['too few tensors', { tensors: (all) => all.slice(0, -1) }, 'bad_model', /no tensor blk\.1\.ffn_down\.weight/],
    ['a tensor twice', { tensors: (all) => [...all, all[0]!] }, 'bad_model', /token_embd\.weight.* twice/],
    ['a tensor too many', { tensors: (all) => [...all, { ...all[1]!, name: 'extra' }] }, 'unsupported', /extra/],
    [
      'a misshapen tensor',
      {
        tensors: (all) =>
          all.map((each) => (each.name === 'blk.0.attn_k.weight' ? { ...each, dims: [128, 256] } : each)),
      },
      'bad_model',
      /attn_k\.weight is 256 x 128; its config asks for 128 x 256/,
    ],
    ['an unknown tokenizer', { metadata: { 'tokenizer.ggml.model': { text: 'bert' } } }, 'unsupported', /bert/],
    [
      'an unknown pre-tokenizer',
      { metadata: { 'tokenizer.ggml.pre': { text: 'none' } } },
      'unsupported',
      /none.*gpt-2/,
    ],
    ['yarn', { metadata: { 'llama.rope.scaling.type': { text: 'yarn' } } }, 'unsupported', /yarn/],
    ['one part of many', { metadata: { 'split.count': { u32: 3 } } }, 'unsupported', /split GGUF/],
  ]
  test.each(wrong)('%s', async (_, options, code, message) => {
    const error = await open(tinyGguf(options)).catch((caught: unknown) => caught)
    expect(error).toBeInstanceOf(ForetokenError)
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) })
  })

  test('a file truncated anywhere is refused as truncated', async () => {
    const whole = tinyGguf()
    for (let length = 0; length < whole.length; length += 1 + Math.floor(length / 7)) {
      const error = await open(whole.slice(0, length)).catch((caught: unknown) => caught)
      expect(error, `${length} bytes`).toBeInstanceOf(ForetokenError)
      expect((error as ForetokenError).code).toBe('bad_model')
    }
  })

  test('overwritten bytes give the same model or one typed error', async () => {
    const whole = tinyGguf()
    const head = 14_000
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ at: fc.nat(head), value: fc.constantFrom(0, 1, 0x7f, 0x80, 0xff) }), {
          minLength: 1,
          maxLength: 12,
        }),
        fc.boolean(),
        async (changes, wide) => {
          const bytes = whole.slice()
          for (const { at, value } of changes) bytes.fill(value, at, at + (wide ? 8 : 1))
          await open(bytes).catch((error: unknown) => {
            if (!(error instanceof ForetokenError)) throw error
            expect(['bad_model', 'unsupported']).toContain(error.code)
          })
        },
      ),
      { numRuns: 300 },
    )
  })

  test('random bytes are refused', async () => {
    const magic = fc.constant([0x47, 0x47, 0x55, 0x46, 3, 0, 0, 0])
    await fc.assert(
      fc.asyncProperty(magic, fc.uint8Array({ maxLength: 300 }), async (start, rest) => {
        const error = await open(Uint8Array.from([...start, ...rest])).catch((caught: unknown) => caught)
        expect(error).toBeInstanceOf(ForetokenError)
      }),
      { numRuns: 500 },
    )
  })
})
