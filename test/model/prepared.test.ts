/** Files of foretoken weights: the same model as the one they were made from, and nothing that a hostile one could do. */

import { existsSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { folderFiles, listedFiles } from '../../node/model-files.ts'
import { withTailInFourBits } from '../../node/vocabulary.ts'
import { loadWasm } from '../../node/wasm.ts'
import { floatToHalf, halfToFloat } from '../../src/base/half.ts'
import type { ModelArchive } from '../../src/base/model.ts'
import { Engine, ForetokenError, memorySource, openModel } from '../../src/index.ts'
import { quantizeQ4 } from '../../src/model/four-bits.ts'
import { preparedFile } from '../../src/model/prepare.ts'
import { openPrepared } from '../../src/model/prepared.ts'
import { memoryFiles } from '../../src/model/source.ts'
import { mergePairs } from '../../src/tokens/merges.ts'
import fc from '../helpers/properties.ts'
import { random } from '../helpers/random.ts'
import { tinyFolder } from '../helpers/tiny-folder.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { withValue } from '../helpers/with-value.ts'

const wasm = await loadWasm('simd128')
const vectors = fileURLToPath(new URL('../vectors', import.meta.url))
const families = readdirSync(vectors).filter((name) => {
  // Exports keep their weights in ONNX.
  return name.startsWith('tiny-') && !name.endsWith('-onnx') && existsSync(`${vectors}/${name}/config.json`)
})

async function bytesOf(archive: ModelArchive): Promise<Uint8Array> {
  const file = preparedFile(archive, mergePairs(archive.tokenizer))
  const all = new Uint8Array(file.bytes)
  let at = 0
  for await (const piece of file.pieces()) {
    all.set(piece, at)
    at += piece.length
  }
  expect(at).toBe(file.bytes)
  return all
}

/** A post-processor that puts a token behind a text. */
const endsWith = (token: string, id: number) => ({
  type: 'TemplateProcessing',
  single: [{ Sequence: { id: 'A', type_id: 0 } }, { SpecialToken: { id: token, type_id: 0 } }],
  special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
})

const asFiles = (bytes: Uint8Array) => memoryFiles('tiny', { 'weights.foretoken': bytes })

async function answer(files: Parameters<typeof Engine.load>[0]) {
  const engine = await Engine.load(files, { wasm, context: 64 })
  const done = await engine.submit({ prompt: 'hello there', raw: true, maxTokens: 12, ignoreEos: true }).result()
  const template = engine.archive.tokenizer.chatTemplate
  await engine.close()
  return { ids: done.ids, text: done.text, template, tensors: engine.archive.tensors.size }
}

describe('a prepared model', () => {
  test.each(['f32', 'q4_1', 'q8_0', 'q6_k'] as const)('gives the same answer as its source: %s', async (type) => {
    const archive = await openModel(tinyFiles({ type }))
    const prepared = await answer(asFiles(await bytesOf(archive)))
    expect(prepared).toEqual(await answer(tinyFiles({ type })))
  })

  test.each(families)('of %s gives the same logits as its source, from a folder and from a GGUF', async (name) => {
    const ids = [5, 40, 77, 9, 130, 21]
    const logitsOf = async (files: Parameters<typeof Engine.load>[0]) => {
      const engine = await Engine.load(files, { wasm, kv: 'f32' })
      // A model whose tokens see those behind them gives no logits.
      const values = name.includes('embedding') ? (await engine.embed(['abc'])).vectors : await engine.logits(ids)
      await engine.close()
      return values
    }
    for (const form of [name, `${name}/gguf`]) {
      const path = fileURLToPath(new URL(`../vectors/${form}`, import.meta.url))
      if (!existsSync(path)) continue
      const names = readdirSync(path).filter((file) => file.endsWith('.gguf'))
      const files =
        names.length > 0 ? listedFiles(form, new Map([[names[0]!, `${path}/${names[0]}`]])) : await folderFiles(path)
      const archive = await openModel(files)
      expect(await logitsOf(asFiles(await bytesOf(archive))), form).toEqual(await logitsOf(files))
      await files.close()
    }
  })

  test('has the archive of the source, with merges as ids', async () => {
    const archive = await openModel(tinyFiles())
    const read = await openPrepared('tiny', memorySource('tiny', await bytesOf(archive)))
    expect(read.config).toEqual(archive.config)
    expect(read.fingerprint).toBe(archive.fingerprint)
    expect(mergePairs(read.tokenizer) ?? new Uint32Array(0)).toEqual(mergePairs(archive.tokenizer))
    expect({ ...(read.tokenizer.json.model as { vocab: object }).vocab }).toEqual({
      ...(archive.tokenizer.json.model as { vocab: object }).vocab,
    })
  })

  test('makes embeddings as its source does', async () => {
    const files = tinyFolder({
      files: {
        '1_Pooling/config.json': { pooling_mode: 'mean' },
        'config_sentence_transformers.json': { prompts: { query: 'Q: ' }, default_prompt_name: 'query' },
      },
      tokenizer: (json) => ({ ...json, post_processor: endsWith('<|im_end|>', 2) }),
    })
    const archive = await openModel(files)
    expect(archive.embedding).toMatchObject({ pooling: 'mean', normalize: false, endIds: [2], defaultPrompt: 'query' })
    const vectors = async (from: Parameters<typeof Engine.load>[0]) => {
      const engine = await Engine.load(from, { wasm, context: 64 })
      const made = await engine.embed('hello there')
      await engine.close()
      return made
    }
    expect(await vectors(asFiles(await bytesOf(archive)))).toEqual(await vectors(files))
  })

  test('with the tail of its vocabulary in 4 bits reads and scores tokens on both sides', async () => {
    const archive = await withTailInFourBits(await openModel(tinyFiles({ type: 'q8_0' })), 128, wasm)
    const whole = await Engine.load(tinyFiles({ type: 'q8_0' }), { wasm, context: 64 })
    const cut = await Engine.load(asFiles(await bytesOf(archive)), { wasm, context: 64 })
    const ids = [3, 200, 201, 5, 127, 128, 255, 0]
    const [a, b] = [await whole.logits(ids), await cut.logits(ids)]
    expect(b.length).toBe(a.length)
    const scale = Math.max(...a.map(Math.abs))
    for (let i = 0; i < a.length; i++) expect(Math.abs(a[i]! - b[i]!)).toBeLessThan(scale * 0.35)
    // Rows that stayed, after tokens that stayed, are the same to the bit.
    const [c, d] = [await whole.logits([3, 5, 127]), await cut.logits([3, 5, 127])]
    expect(d.slice(0, 128)).toEqual(c.slice(0, 128))
    await expect(cut.logits([259])).rejects.toMatchObject({ code: 'bad_argument' })
    await whole.close()
    await cut.close()
  })
})

test('a file that adds to a vector what its family does not is refused', async () => {
  const files = await folderFiles(fileURLToPath(new URL('../vectors/tiny-gemma2', import.meta.url)))
  const bytes = await bytesOf(await openModel(files))
  await files.close()
  const text = new TextDecoder('latin1').decode(bytes)
  const at = text.indexOf('"norm","f16",1]')
  expect(at).toBeGreaterThan(0)
  for (const digit of ['2', '9']) {
    const changed = bytes.slice()
    changed[at + 13] = digit.charCodeAt(0)
    const opening = openPrepared('tiny', memorySource('tiny', changed))
    await expect(opening).rejects.toMatchObject({
      code: 'bad_model',
      message: expect.stringMatching(/adds \d to norm/),
    })
  }
})

describe('an invalid file', () => {
  const good = bytesOf
  const opening = (bytes: Uint8Array) => openPrepared('bad', memorySource('bad', bytes))

  test('truncated anywhere', async () => {
    const bytes = await good(await openModel(tinyFiles({ type: 'q4_0' })))
    for (const end of [0, 1, 8, 15, 16, 100, 1000, bytes.length - 1])
      await expect(opening(bytes.slice(0, end))).rejects.toMatchObject({ code: 'bad_model' })
    await expect(opening(Uint8Array.from([...bytes, 0]))).rejects.toMatchObject({ code: 'bad_model' })
  })

  test('with any bytes of its head changed: a ForetokenError, or a model of the same shape', async () => {
    const bytes = await good(await openModel(tinyFiles({ type: 'q4_0' })))
    const head = new DataView(bytes.buffer).getUint32(8, true) + 16
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(head - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        async (changes) => {
          const changed = bytes.slice()
          for (const [at, value] of changes) changed[at] = value
          try {
            const { tensors } = await opening(changed)
            for (const { offset, bytes: length } of tensors.values())
              expect(offset + length).toBeLessThanOrEqual(changed.length)
          } catch (error) {
            expect(error).toBeInstanceOf(ForetokenError)
          }
        },
      ),
      { numRuns: 200 },
    )
  })

  test.each<[string, string, unknown]>([
    ['a tensor twice', 'tensors.1', ['embed', 'q4_0']],
    ['an unknown tensor type', 'tensors.0.1', 'q3_x'],
    ['a type from the prototype', 'tensors.0.1', 'constructor'],
    ['a huge vocabulary', 'config.vocab', 1 << 20],
    ['a vocabulary cut outside of it', 'config.tailFrom', 10_000],
    ['an unknown architecture', 'config.architecture', 'mamba'],
    ['tokens that are no texts', 'tokens', [1, 2]],
    ['no tokenizer', 'tokenizer', undefined],
    ['texts that end with no token', 'embedding.endIds', [10_000]],
    ['an unknown pooling', 'embedding.pooling', 'max'],
  ])('%s', async (_, path, value) => {
    const bytes = await good(await openModel(tinyFiles({ type: 'q4_0' })))
    const view = new DataView(bytes.buffer)
    const length = view.getUint32(8, true)
    const head = JSON.parse(new TextDecoder().decode(bytes.subarray(16, 16 + length)))
    const text = new TextEncoder().encode(JSON.stringify(withValue(head, path.split('.'), value)))
    const rest = bytes.subarray(Math.ceil((16 + length) / 64) * 64)
    const made = new Uint8Array(Math.ceil((16 + text.length) / 64) * 64 + rest.length)
    made.set(bytes.subarray(0, 16))
    new DataView(made.buffer).setUint32(8, text.length, true)
    made.set(text, 16)
    made.set(rest, made.length - rest.length)
    await expect(opening(made)).rejects.toMatchObject({ code: 'bad_model' })
  })
})

describe('four bits', () => {
  test('each half is rounded to the nearest', () => {
    fc.assert(
      fc.property(fc.float({ min: -60_000, max: 60_000, noNaN: true }), (value) => {
        const bits = floatToHalf(value)
        const error = Math.abs(halfToFloat(bits) - value)
        for (const near of [bits - 1, bits + 1])
          if ((near & 0x7fff) < 0x7c00 && near >= 0)
            expect(error).toBeLessThanOrEqual(Math.abs(halfToFloat(near) - value))
      }),
    )
  })

  test('no block has a larger error than with the plain range of 16 steps', () => {
    const values = random(7).floats(32 * 64)
    const bytes = quantizeQ4(values)
    const view = new DataView(bytes.buffer)
    for (let block = 0; block < 64; block++) {
      const row = values.subarray(block * 32, block * 32 + 32)
      const [d, m] = [halfToFloat(view.getUint16(block * 20, true)), halfToFloat(view.getUint16(block * 20 + 2, true))]
      const step = (Math.max(...row) - Math.min(...row)) / 15
      let [error, plain] = [0, 0]
      row.forEach((value, i) => {
        const pair = bytes[block * 20 + 4 + (i % 16)]!
        error += (d * (i < 16 ? pair & 15 : pair >> 4) + m - value) ** 2
        plain += (Math.round((value - Math.min(...row)) / step) * step + Math.min(...row) - value) ** 2
      })
      expect(error).toBeLessThanOrEqual(plain * 1.01)
    }
  })

  test('a block of one value gives that value exactly', () => {
    const bytes = quantizeQ4(new Float32Array(32).fill(0.5))
    expect(halfToFloat(new DataView(bytes.buffer).getUint16(2, true))).toBe(0.5)
  })
})
