/** Tests the settings of a model's tokenizer: end tokens, text splitting, and first token. */
import { describe, expect, test } from 'vitest'
import { openModel } from '../../src/model/open.ts'
import { preTokenizers } from '../../src/model/pre-tokenizers.ts'
import { createTokenizer, type Tokenizer } from '../../src/tokens/tokenizer.ts'
import type { Metadata } from '../helpers/gguf-writer.ts'
import { type TinyFolder, tinyFolder } from '../helpers/tiny-folder.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

describe('the end tokens are the union of those in the files', () => {
  const ends = async (folder: TinyFolder) => (await openModel(tinyFolder(folder))).tokenizer.eosIds
  const generation = (eos_token_id: unknown) => ({ 'generation_config.json': { eos_token_id } })

  test.each<[string, TinyFolder, number[]]>([
    ['config.json says 0, the tokenizer <|im_end|>', { config: { eos_token_id: 0 } }, [0, 2]],
    ['config.json says null', { config: { eos_token_id: null } }, [2]],
    ['config.json says nothing', { config: { eos_token_id: undefined } }, [2]],
    ['config.json says -1, for none', { config: { eos_token_id: -1 } }, [2]],
    ['generation_config.json says another', { config: { eos_token_id: 0 }, files: generation(1) }, [0, 1, 2]],
    ['lists', { config: { eos_token_id: [0, 1] }, files: generation([1, 3]) }, [0, 1, 3, 2]],
    ['a token as an object', { config: { eos_token_id: 0 }, settings: { eos_token: { content: '<pad>' } } }, [0, 3]],
    ['a token that there is not', { settings: { eos_token: '<nothing>' } }, [2]],
    [
      'special_tokens_map.json',
      {
        config: { eos_token_id: 0 },
        settings: { eos_token: null },
        files: { 'special_tokens_map.json': { eos_token: '<pad>' } },
      },
      [0, 3],
    ],
  ])('%s', async (_, folder, expected) => expect(await ends(folder)).toEqual(expected))

  test.each(['2', 1.5, [null], [[2, 'x']], true, {}])('%j is refused', async (eos_token_id) => {
    await expect(ends({ config: { eos_token_id } })).rejects.toMatchObject({ code: 'bad_model' })
  })

  test('a warning is given where no file names any', async () => {
    const archive = await openModel(tinyFolder({ config: { eos_token_id: null }, settings: { eos_token: null } }))
    expect(archive.tokenizer.eosIds).toEqual([])
    expect(archive.warnings).toEqual([expect.stringMatching(/which token ends an answer/)])
  })

  test('an id without a row is dropped with a warning, and refused where no other is left', async () => {
    const some = await openModel(tinyFolder({ config: { eos_token_id: [0, 276] }, files: generation(1 << 30) }))
    expect(some.tokenizer.eosIds).toEqual([0, 2])
    expect(some.warnings).toEqual([
      expect.stringMatching(/config\.json: eos_token_id has 276, and the embedding rows 0 to 275: the id is not used/),
      expect.stringMatching(/generation_config\.json: eos_token_id has 1073741824/),
    ])
    await expect(
      openModel(tinyFolder({ config: { eos_token_id: 276 }, settings: { eos_token: null } })),
    ).rejects.toMatchObject({
      code: 'bad_model',
      message: expect.stringMatching(/eos_token_id has 276.*no token would/),
    })
  })

  test('an id of a row without a token is reported', async () => {
    const { warnings } = await openModel(tinyFolder({ rows: 300, config: { eos_token_id: 290 } }))
    expect(warnings).toEqual([expect.stringMatching(/token 290 should end an answer, and the tokenizer has no such/)])
  })

  test('in a GGUF: end of text, of turn and of message, and the usual names', async () => {
    const id = (name: string, u32: number) => ({ [`tokenizer.ggml.${name}_token_id`]: { u32 } })
    const files = tinyFiles({ metadata: { ...id('eos', 5), ...id('eot', 6), ...id('eom', 7) } })
    expect((await openModel(files)).tokenizer.eosIds).toEqual([5, 6, 7, 258, 256])
    for (const name of ['eos', 'eot', 'eom'])
      await expect(openModel(tinyFiles({ metadata: id(name, 259) }))).rejects.toMatchObject({ code: 'bad_model' })
  })
})

describe('the vocab_size of a GGUF and the rows of its embedding', () => {
  const sized = (u32: number) => openModel(tinyFiles({ metadata: { 'llama.vocab_size': { u32 } } }))
  test('give no warning when equal', async () => expect((await sized(259)).warnings).toEqual([]))
  test('give a warning where there are more rows', async () => {
    expect((await sized(256)).warnings).toEqual([
      expect.stringMatching(/llama\.vocab_size is 256, and the embedding has 259 rows: the rows are used/),
    ])
  })
  test('are refused where rows are missing', async () => {
    await expect(sized(32_000)).rejects.toMatchObject({
      code: 'bad_model',
      message: expect.stringMatching(/vocab_size is 32000, and the embedding has 259 rows: it is cut off/),
    })
  })
})

async function open(metadata: Record<string, Metadata | undefined>): Promise<Tokenizer> {
  return createTokenizer((await openModel(tinyFiles({ layers: 1, metadata }))).tokenizer)
}

/** The words that a pre-tokenizer cuts a text into: in a vocabulary of all parts of the text each word is one token. */
async function words(pre: string | undefined, text: string): Promise<string[]> {
  const metadata = { 'tokenizer.ggml.pre': pre === undefined ? undefined : { text: pre } }
  const { vocabulary, mergeIds, ...tokenizer } = (await openModel(tinyFiles({ layers: 1, metadata }))).tokenizer
  const vocab = partsOf(byteLetters(text))
  const model = { ...(tokenizer.json.model as object), vocab, merges: [], ignore_merges: true }
  const json = { ...tokenizer.json, added_tokens: [], model }
  const made = createTokenizer({ ...tokenizer, json })
  const decoder = new TextDecoder()
  return made.encode(text).map((id) => decoder.decode(made.tokenBytes(id)))
}

function byteLetters(text: string): string {
  return text.replaceAll(' ', '\u0120').replaceAll('\n', '\u010a')
}

/** All parts of a text as tokens. */
function partsOf(text: string): Record<string, number> {
  const parts = new Set<string>()
  for (let length = 1; length <= text.length; length++)
    for (let at = 0; at + length <= text.length; at++) parts.add(text.slice(at, at + length))
  return Object.fromEntries([...parts].map((part, id) => [part, id]))
}

describe('text splitting in a GGUF', () => {
  test('without tokenizer.ggml.pre, and with "default", is that of llama.cpp, with a warning', async () => {
    for (const pre of [undefined, 'default']) {
      expect(await words(pre, 'a+b')).toEqual(['a', '+', 'b'])
      expect(await words(pre, '12345')).toEqual(['123', '45'])
      expect(await words(pre, 'a $b')).toEqual(['a', ' ', '$', 'b'])
      const metadata = { 'tokenizer.ggml.pre': pre === undefined ? undefined : { text: pre } }
      const { warnings } = await openModel(tinyFiles({ metadata }))
      expect(warnings).toEqual([expect.stringMatching(/tokenizer\.ggml\.pre.*llama\.cpp does by default/)])
    }
    expect(await words('gpt-2', '12345')).toEqual(['12345'])
    expect(await words('gpt-2', 'a $b')).toEqual(['a', ' $', 'b'])
  })

  test.each([
    ['gpt-2', "1234 a'b", ['1234', ' a', "'", 'b']],
    ['smollm', '123 4', ['1', '2', '3', ' ', '4']],
    ['starcoder', '12 ab', ['1', '2', ' ab']],
    ['refact', '12', ['1', '2']],
    ['llama-bpe', '12345', ['123', '45']],
    ['llama-v3', '12345', ['123', '45']],
    ['falcon3', '12345', ['123', '45']],
    ['smaug-bpe', '12345', ['123', '45']],
    ['dbrx', '12345', ['123', '45']],
    ['qwen2', '123', ['1', '2', '3']],
    ['deepseek-r1-qwen', '123', ['1', '2', '3']],
    ['stablelm2', '123', ['1', '2', '3']],
    ['tekken', 'abAB1', ['ab', 'AB', '1']],
    ['gpt-4o', 'abAB12', ['ab', 'AB', '12']],
    ['deepseek-llm', 'a.b12', ['a', '.', 'b', '12']],
    ['deepseek-coder', 'a.b12', ['a', '.', 'b', '1', '2']],
    ['deepseek-v3', '1234a', ['123', '4', 'a']],
    ['falcon', '1234+a', ['123', '4', '+', 'a']],
    ['viking', 'a.b 12', ['a', '.', 'b', ' ', '1', '2']],
    ['poro-chat', 'a.b 12', ['a', '.', 'b', ' 12']],
    ['seed-coder', 'a\n1', ['a', '\n', '1']],
    ['bailingmoe', 'a\n1', ['a', '\n', '1']],
  ])('%s splits %j', async (pre, text, expected) => expect(await words(pre, text)).toEqual(expected))

  test('every known name is accepted, and an unknown one is refused with a list of them', async () => {
    for (const name of preTokenizers.keys()) {
      const tokenizer = await open({ 'tokenizer.ggml.pre': { text: name } })
      expect(tokenizer.decode(tokenizer.encode("a b's 12\n\n  c"))).toBe("a b's 12\n\n  c")
    }
    await expect(open({ 'tokenizer.ggml.pre': { text: 'none-such' } })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringMatching(/"none-such".*deepseek-r1-qwen/),
    })
  })

  test('Llama 3 names begin with BOS unless the file disables it', async () => {
    const addBos = async (pre: string, flag?: boolean) => {
      const metadata = {
        'tokenizer.ggml.pre': { text: pre },
        ...(flag !== undefined && { 'tokenizer.ggml.add_bos_token': { flag } }),
      }
      return (await openModel(tinyFiles({ metadata }))).tokenizer.addBos
    }
    expect([await addBos('llama-v3'), await addBos('llama-v3', false)]).toEqual([true, false])
    expect([await addBos('qwen2'), await addBos('qwen2', true)]).toEqual([false, true])
  })
})

test("special tokens that the file does not name have SentencePiece's default ids", async () => {
  const pieces = ['<unk>', '<s>', '</s>', '\u2581', 'a', 'b', ...Array.from({ length: 253 }, (_, i) => `x${i}`)]
  const metadata: Record<string, Metadata | undefined> = {
    'tokenizer.ggml.model': { text: 'llama' },
    'tokenizer.ggml.tokens': { texts: pieces },
    'tokenizer.ggml.scores': { floats: pieces.map((_, i) => -i) },
    'tokenizer.ggml.token_type': { ints: pieces.map((_, i) => (i < 3 ? 3 : 1)) },
    'tokenizer.ggml.eos_token_id': undefined,
  }
  const { tokenizer } = await openModel(tinyFiles({ metadata }))
  expect(tokenizer).toMatchObject({ bosToken: '<s>', eosToken: '</s>', eosIds: [2], addBos: true })
})
