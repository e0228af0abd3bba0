/** Heads and vocabularies that no model reaches are refused before they become objects: little of the file is read, and none of it parsed. */
import { describe, expect, test } from 'vitest'
import type { ModelFiles } from '../../src/base/bytes.ts'
import { readGguf } from '../../src/model/gguf.ts'
import { jsonBounds, limits } from '../../src/model/limits.ts'
import { openModel } from '../../src/model/open.ts'
import { readPredictor } from '../../src/predict/file.ts'
import { type CountedSource, joined, numbers, type Run, synthetic, text } from '../helpers/synthetic.ts'
import { folderTokenizer, tinyFolder } from '../helpers/tiny-folder.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

/** A folder in which one file is another. */
function withFile(files: ModelFiles, source: CountedSource): ModelFiles {
  return {
    name: files.name,
    files: [...new Set([...files.files, source.name])],
    open: async (file) => (file === source.name ? source : files.open(file)),
  }
}

function alone(source: CountedSource): ModelFiles {
  return { name: 'm', files: [source.name], open: async () => source }
}

const ggufText = (value: string) => joined(numbers([8, text(value).length]), text(value))
const [u8, textType, listType] = [0, 8, 9]
const ggufHead = (metadata: number) => joined(text('GGUF'), numbers([4, 3], [8, 0], [8, metadata]))
const listOf = (key: string, type: number, count: number) =>
  joined(ggufText(key), numbers([4, listType], [4, type], [8, count]))

/** Refused as `bad_model`, with at most `most` bytes read. */
async function refused(source: CountedSource, files: ModelFiles, message: RegExp, most: number): Promise<void> {
  await expect(openModel(files)).rejects.toMatchObject({ code: 'bad_model', message: expect.stringMatching(message) })
  expect(source.read_bytes).toBeLessThanOrEqual(most)
}

const MiB = 1 << 20

describe('an oversized head is refused unread', () => {
  test('98 MB of a safetensors file', async () => {
    const entry = { piece: text('"a":{},'), times: 14e6 }
    const source = synthetic('model.safetensors', [numbers([8, 98e6]), text('{'), entry])
    await refused(source, withFile(tinyFolder(), source), /98000000 bytes.*16777216 is the limit/, 8)
  })

  test('64 MB of a prepared file', async () => {
    const head = joined(text('fTkWght1'), numbers([4, 64 * MiB], [4, 0]))
    const source = synthetic('w.foretoken', [head, { piece: new Uint8Array(MiB), times: 65 }])
    await refused(source, alone(source), /head of 67108864 bytes/, 16)
  })

  test('4 million merges of a prepared file', async () => {
    const head = joined(text('fTkWght1'), numbers([4, 100], [4, limits.merges + 1]))
    const source = synthetic('w.foretoken', [head, { piece: new Uint8Array(MiB), times: 65 }])
    await refused(source, alone(source), /2097153 merges/, 16)
  })

  test('240 MB of byte lists in a GGUF', async () => {
    const lists = Array.from({ length: 8 }, (_, i): Run[] => [
      listOf(`x${i}`, u8, 30e6),
      { piece: new Uint8Array(1000), times: 30_000 },
    ])
    const source = synthetic('m.gguf', [ggufHead(8), ...lists.flat()])
    await refused(source, alone(source), /head of more than 67108864 bytes/, 64 * MiB)
  })

  test('a config.json of 60 MB', async () => {
    const source = synthetic('config.json', [text('{"a":['), { piece: text('0,'), times: 30e6 }])
    await refused(source, withFile(tinyFolder(), source), /at most 1048576 are read/, 0)
  })

  test('a tokenizer.json beyond 128 MiB', async () => {
    const source = synthetic('tokenizer.json', [{ piece: text(' '), times: 128 * MiB + 1 }])
    await refused(source, withFile(tinyFolder(), source), /134217729 bytes of JSON; at most 134217728/, 0)
  })

  test('a separate chat template beyond 1 MiB', async () => {
    const source = synthetic('chat_template.jinja', [{ piece: text('x'), times: MiB + 1 }])
    await refused(source, withFile(tinyFolder(), source), /1048577 bytes; at most 1048576/, 0)
  })
})

describe('an unused list in a GGUF', () => {
  test('is skipped unread, whatever its length', async () => {
    const bytes = limits.ggufHead - 1000
    const source = synthetic('m.gguf', [
      ggufHead(2),
      listOf('x', u8, bytes),
      { piece: new Uint8Array(bytes / 8), times: 8 },
      joined(ggufText('y'), numbers([4, 4], [4, 7])),
      new Uint8Array(64),
    ])
    const { metadata } = await readGguf(source)
    expect(metadata.get('y')).toBe(7)
    expect(metadata.get('x')).toMatchObject({ count: bytes })
    expect(source.read_bytes).toBeLessThan(16 * MiB)
  })

  test('of strings is counted before it is read', async () => {
    const list = (count: number) =>
      synthetic('m.gguf', [ggufHead(1), listOf('x', textType, count), { piece: new Uint8Array(8 * 1024), times: 8192 }])
    await refused(
      list(limits.ggufElements + 1),
      alone(list(limits.ggufElements + 1)),
      /4194304 texts and lists/,
      4 * MiB,
    )
    await expect(readGguf(list(limits.ggufElements))).resolves.toBeDefined()
  })

  test('is counted within lists as well', async () => {
    const inner = { piece: joined(numbers([4, listType], [8, 0])), times: 5_000_000 }
    const source = synthetic('m.gguf', [ggufHead(1), listOf('x', listType, 5_000_000), inner])
    await refused(source, alone(source), /4194304 texts and lists/, 4 * MiB)
  })
})

describe('limits on counts in a GGUF', () => {
  test('metadata entries: at most 4,096', async () => {
    const entries = (count: number) =>
      synthetic('m.gguf', [
        ggufHead(count),
        ...Array.from({ length: count }, (_, i) => joined(ggufText(`k${i}`), numbers([4, 4], [4, 1]))),
        new Uint8Array(64),
      ])
    expect((await readGguf(entries(limits.ggufEntries))).metadata.size).toBe(limits.ggufEntries)
    await expect(readGguf(entries(limits.ggufEntries + 1))).rejects.toMatchObject({ code: 'bad_model' })
  })

  test('tensors: at most 16,384', async () => {
    const tensors = (count: number) =>
      synthetic('m.gguf', [
        joined(text('GGUF'), numbers([4, 3], [8, count], [8, 0])),
        ...Array.from({ length: count }, (_, i) =>
          joined(ggufText(`t${i}`), numbers([4, 1], [8, 8], [4, 0], [8, 32 * i])),
        ),
        { piece: new Uint8Array(32), times: count + 1 },
      ])
    expect((await readGguf(tensors(limits.tensors))).tensors).toHaveLength(limits.tensors)
    await expect(readGguf(tensors(limits.tensors + 1))).rejects.toMatchObject({ code: 'bad_model' })
  })

  test.each([limits.ggufText, limits.ggufText + 1])('a string of %i bytes', async (length) => {
    const entry = joined(ggufText('x'), numbers([4, textType], [8, length]))
    const read = readGguf(
      synthetic('m.gguf', [ggufHead(1), entry, { piece: text('a'), times: length }, new Uint8Array(64)]),
    )
    if (length === limits.ggufText) await expect(read).resolves.toBeDefined()
    else
      await expect(read).rejects.toMatchObject({
        code: 'bad_model',
        message: expect.stringMatching(/1048577 bytes of a text/),
      })
  })
})

describe('an oversized vocabulary', () => {
  const tokenizerFile = (model: string, entry: string, times: number) =>
    synthetic('tokenizer.json', [text(`{"model":{"type":"BPE",${model}`), { piece: text(entry), times }])

  test.each([
    [
      '10 million merges',
      () => tokenizerFile('"vocab":{},"merges":[', '"a b",', 10e6),
      /2097152 entries in model\.merges/,
    ],
    [
      '10 million merges in pairs',
      () => tokenizerFile('"vocab":{},"merges":[', '["a","b"],', 10e6),
      /2097152 entries in model\.merges/,
    ],
    [
      'merges under an escaped key',
      () => tokenizerFile('"vocab":{},"m\\u0065rges":[', '"a b",', 10e6),
      /2097152 entries in model\.merges/,
    ],
    ['2 million tokens', () => tokenizerFile('"vocab":{', '"a":1,', 2e6), /1048576 entries in model\.vocab/],
    [
      '9 million objects elsewhere',
      () => synthetic('tokenizer.json', [text('{"x":['), { piece: text('{},'), times: 9e6 }]),
      /more than 8000000 values/,
    ],
    [
      '100,000 added tokens',
      () =>
        synthetic('tokenizer.json', [
          text('{"added_tokens":['),
          { piece: text('{"id":1,"content":"a"},'), times: 1e5 },
        ]),
      /32768 entries in added_tokens/,
    ],
    [
      'a text of 60 MB',
      () => synthetic('tokenizer.json', [text('{"normalizer":"'), { piece: text('a'.repeat(1000)), times: 60_000 }]),
      /a text of more than 1048576 bytes/,
    ],
    [
      'lists within lists',
      () => synthetic('tokenizer.json', [{ piece: text('{"a":'), times: 1e6 }]),
      /nested more than 32 deep/,
    ],
  ])('%s of a tokenizer.json', async (_, make, message) => {
    const source = make()
    await refused(source, withFile(tinyFolder(), source), message, jsonBounds.tokenizer.bytes)
  })

  test('tokens of a prepared file', async () => {
    const tokens = { piece: text('"",'), times: 2e6 }
    const head = joined(text('fTkWght1'), numbers([4, 6 * MiB], [4, 0]), text('{"tokens":['))
    const source = synthetic('w.foretoken', [head, tokens, new Uint8Array(MiB)])
    await refused(source, alone(source), /1048576 entries in tokens/, 7 * MiB)
  })

  test('tensors of a safetensors file', async () => {
    const entry = { piece: text('"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'), times: 3e5 }
    const source = synthetic('model.safetensors', [numbers([8, 15.9e6]), text('{'), entry, new Uint8Array(1000)])
    await refused(source, withFile(tinyFolder(), source), /more than 300000 values/, 17 * MiB)
  })

  test('pieces of a SentencePiece model that are too long to be split in every way', async () => {
    const pieces = Array.from({ length: 4200 }, (_, i) => `${i}`.padStart(256, 'a'))
    const metadata = {
      'tokenizer.ggml.model': { text: 'llama' },
      'tokenizer.ggml.tokens': { texts: pieces },
      'tokenizer.ggml.scores': { floats: pieces.map(() => 0) },
      'tokenizer.ggml.token_type': { ints: pieces.map(() => 1) },
      'llama.vocab_size': { u32: 4200 },
    }
    const files = tinyFiles({ metadata, tensors: (all) => all.map((each) => widened(each, 4200)) })
    await expect(openModel(files)).rejects.toMatchObject({
      message: expect.stringMatching(/too long to find their merges/),
    })
  })
})

/** A GGUF's embedding with other rows. */
function widened<T extends { name: string; dims: readonly number[]; bytes: Uint8Array }>(tensor: T, rows: number): T {
  if (tensor.name !== 'token_embd.weight') return tensor
  const dims = [tensor.dims[0]!, rows]
  return { ...tensor, dims, bytes: new Uint8Array(dims[0]! * rows * 4) }
}

describe('tokens and rows of the embedding', () => {
  test('more tokens than rows are refused in a folder', async () => {
    const more = tinyFolder({
      tokenizer: (json) => ({ ...json, added_tokens: [...json.added_tokens, { id: 276, content: '<x>' }] }),
    })
    await expect(openModel(more)).rejects.toMatchObject({
      code: 'bad_model',
      message: expect.stringMatching(/id 276.*276 rows/),
    })
    const named = folderTokenizer()
    named.model.vocab.one = 400
    await expect(openModel(tinyFolder({ tokenizer: () => named }))).rejects.toMatchObject({ code: 'bad_model' })
  })

  test('more tokens than rows are refused in a GGUF before they are read', async () => {
    const files = tinyFiles({ tensors: (all) => all.map((each) => widened(each, 200)) })
    await expect(openModel(files)).rejects.toMatchObject({
      code: 'bad_model',
      message: expect.stringMatching(/259 tokens.*200 rows/),
    })
  })

  test.each([-1, 1.5, '3', null, 2 ** 40])('a token whose id is %j is refused', async (id) => {
    const json = folderTokenizer()
    json.model.vocab.one = id as number
    await expect(openModel(tinyFolder({ tokenizer: () => json }))).rejects.toMatchObject({ code: 'bad_model' })
  })

  test('fewer tokens than rows are padding', async () => {
    const { tokenless, config } = await openModel(tinyFolder({ rows: 288 }))
    expect(config.vocab).toBe(288)
    expect([...tokenless]).toEqual(Array.from({ length: 12 }, (_, i) => 276 + i))
  })
})

test('a predictor whose header declares more than any base model has is refused before its maps are listed', async () => {
  const header = { version: 1, base: 'b', base_name: 'b', layers: 1 << 20, hidden: 64, kv_width: 64, gate: 0 }
  const plan = { kind: 'shared', sinks: 4, window: 48, shared: 1, runs: [], taps: [0] }
  const head = JSON.stringify({ __metadata__: { foretoken: JSON.stringify({ ...header, plan }), sha256: '00' } })
  const source = synthetic('p', [numbers([8, head.length]), text(head)])
  await expect(readPredictor(source)).rejects.toMatchObject({
    code: 'bad_predictor',
    message: expect.stringMatching(/layers is 1048576/),
  })
})
