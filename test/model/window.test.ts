/** Attention windows: which layers have one, and what it changes. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import type { ModelArchive } from '../../src/base/model.ts'
import { Engine } from '../../src/index.ts'
import { openModel } from '../../src/model/open.ts'
import { preparedFile } from '../../src/model/prepare.ts'
import { openPrepared } from '../../src/model/prepared.ts'
import { memoryFiles, memorySource } from '../../src/model/source.ts'
import { kvIdentityOf } from '../../src/transfer/identity.ts'
import type { Metadata } from '../helpers/gguf-writer.ts'
import { type TinyFolder, tinyFolder } from '../helpers/tiny-folder.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const wasm = await loadWasm('simd128')

describe('an attention window is computed', () => {
  const sliding = ['sliding_attention', 'full_attention']

  test.each<[string, TinyFolder, number[] | undefined]>([
    ['of layer_types', { config: { layer_types: sliding, sliding_window: 255 } }, [255, 0]],
    [
      'of Qwen, from a layer on',
      { architecture: 'qwen2', config: { use_sliding_window: true, sliding_window: 16, max_window_layers: 1 } },
      [0, 16],
    ],
    [
      'of layer_types, whatever use_sliding_window says',
      { config: { layer_types: sliding, sliding_window: 16, use_sliding_window: false } },
      [16, 0],
    ],
    ['as long as the context: none', { config: { layer_types: sliding, sliding_window: 256 } }, undefined],
    ['of Mistral, on all layers', { architecture: 'mistral', config: { sliding_window: 32 } }, [32, 32]],
    [
      'of Mistral, by layers',
      { architecture: 'mistral', config: { sliding_window: 32, layer_types: sliding } },
      [32, 0],
    ],
    ['of Mistral, null: none', { architecture: 'mistral', config: { sliding_window: null } }, undefined],
    ['of Mistral, absent: 4,096', { architecture: 'mistral', config: { max_position_embeddings: 8192 } }, [4096, 4096]],
  ])('%s', async (_, folder, windows) => {
    expect((await openModel(tinyFolder(folder))).config.windows).toEqual(windows)
  })

  test.each([0, -1, 1.5, '16', true])('of the invalid size %j is refused', async (size) => {
    const files = tinyFolder({ config: { layer_types: sliding, sliding_window: size } })
    await expect(openModel(files)).rejects.toMatchObject({
      code: 'bad_model',
      message: expect.stringMatching(/sliding_window/),
    })
  })

  test('in a GGUF, on all layers', async () => {
    const gguf = (value: Metadata, more: Record<string, Metadata> = {}) =>
      openModel(tinyFiles({ metadata: { 'llama.attention.sliding_window': value, ...more } }))
    expect((await gguf({ u32: 32 })).config.windows).toEqual([32, 32])
    expect((await gguf({ u32: 0 })).config.windows).toBeUndefined()
    await expect(gguf({ f32: 2.5 })).rejects.toMatchObject({ code: 'bad_model' })
    const pattern = { 'llama.attention.sliding_window_pattern': { u32: 2 } }
    await expect(gguf({ u32: 32 }, pattern)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(/sliding_window_pattern/),
    })
    expect((await gguf({ u32: 256 }, pattern)).config.windows).toBeUndefined()
  })

  test("is part of the model's identity, and of a prepared file", async () => {
    const plain = await openModel(tinyFiles())
    const windowed = await openModel(tinyFiles({ metadata: { 'llama.attention.sliding_window': { u32: 32 } } }))
    expect(windowed.fingerprint).not.toBe(plain.fingerprint)
    const rope = async (archive: ModelArchive) =>
      (await kvIdentityOf(archive, { identity: 'same', balance: undefined, predictor: undefined })).rope
    expect(await rope(windowed)).not.toBe(await rope(plain))
    const { pieces } = preparedFile(windowed, new Uint32Array(0))
    const parts: Uint8Array[] = []
    for await (const piece of pieces()) parts.push(piece.slice())
    const again = await openPrepared('again', memorySource('again', Buffer.concat(parts)))
    expect(again.config).toEqual(windowed.config)
    expect(again.fingerprint).toBe(windowed.fingerprint)
  })

  test('changes answers beyond it, and none before', async () => {
    const answer = async (config: TinyFolder['config'], length: number) => {
      const engine = await Engine.load(tinyFolder({ config: config ?? {} }), { wasm, context: 128 })
      const session = await engine.prefill(Array.from({ length }, (_, i) => 5 + ((i * 7) % 200)))
      const logits = Array.from(session.logits)
      await engine.close()
      return logits
    }
    const windowed = { layer_types: sliding, sliding_window: 32 }
    expect(await answer(windowed, 32)).toEqual(await answer({}, 32))
    expect(await answer(windowed, 33)).not.toEqual(await answer({}, 33))
  })
})

test('a window of 0 in a GGUF whose layers slide is refused', async () => {
  const bytes = readFileSync(new URL('../vectors/tiny-gemma3/gguf/tiny-gemma3.gguf', import.meta.url))
  const key = 'gemma3.attention.sliding_window'
  // The key is followed by its type, a u32, and its value.
  bytes.writeUInt32LE(0, bytes.indexOf(key) + key.length + 4)
  const opened = openModel(memoryFiles('tiny', { 'tiny.gguf': bytes }))
  await expect(opened).rejects.toMatchObject({ code: 'bad_model', message: expect.stringContaining(`${key} is 0`) })
})
