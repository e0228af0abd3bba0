/**
 * Every key that the readers of models use, with values that make no sense: each is refused by the
 * file's own key, with the next step, or changes nothing.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { folderFiles } from '../../node/model-files.ts'
import type { ModelFiles } from '../../src/base/bytes.ts'
import { ForetokenError } from '../../src/base/errors.ts'
import { families } from '../../src/model/families/index.ts'
import { readGguf } from '../../src/model/gguf.ts'
import { neutralInGguf, silentInGguf } from '../../src/model/gguf-key-rules.ts'
import { openModel } from '../../src/model/open.ts'
import { memoryFiles, memorySource } from '../../src/model/source.ts'
import { type Metadata, type WrittenTensor, writeGguf } from '../helpers/gguf-writer.ts'

const vectors = (name: string) => fileURLToPath(new URL(`../vectors/${name}`, import.meta.url))

/** JSON has no NaN; a number beyond all others is what it has instead. */
const beyond = '1e999'
const hostile = ['0', '-1', '1.5', 'null', '""', '"x"', beyond, '1e300', '[]', '{}', 'true']

/** Returns the files of a folder of vectors but its golden values, by name. */
async function bytesOf(name: string): Promise<Record<string, Uint8Array>> {
  const { files, open, close } = await folderFiles(vectors(name))
  const bytes: Record<string, Uint8Array> = {}
  for (const file of files.filter((file) => !/golden\.json$/.test(file))) {
    const source = await open(file)
    bytes[file] = new Uint8Array(source.size)
    await source.read(0, bytes[file])
  }
  await close()
  return bytes
}

/** Returns what of a model a file may change. */
async function meaning(files: ModelFiles): Promise<string> {
  const { config, tokenizer, embedding } = await openModel(files)
  const { eosIds, bosToken, addBos, chatTemplate } = tokenizer
  return JSON.stringify([config, eosIds, bosToken, addBos, chatTemplate, embedding])
}

/** Returns why an outcome is not one that a user can act on; undefined if it is. */
async function complaint(files: ModelFiles, base: string, key: string): Promise<string | undefined> {
  const began = performance.now()
  try {
    return (await meaning(files)) === base ? undefined : 'is honoured'
  } catch (error) {
    if (!(error instanceof ForetokenError) || error.code === 'internal') return `crashes: ${error}`
    const { message } = error
    if (!message.includes(key)) return `is not named: ${message}`
    if (!/again|[;:,] (use|correct|get|to run)/.test(message)) return `has no next step: ${message}`
    return performance.now() - began > 5000 ? 'takes long' : undefined
  }
}

/** Matches keys and values that make sense: they are honoured, or refused by another name. */
const sensible: readonly RegExp[] = [
  // Numbers that need not be whole.
  /(theta|constant|scalar|softcapping|multiplier|scaling|factor|alpha|freq_base|freq_base_swa|_scale|attention\.scale)=1\.5$/,
  // Soft caps of 0 are none, in each kind of file, and so are factors of 0 in a GGUF.
  /softcapping=(0|null)$/,
  /(_scale|attention\.scale|scaling\.factor|max_window_layers)=0$/,
  // A token.
  /(eos|eot|eom|bos|unknown|padding|separator)_token_id=0$/,
  // A scaling without contents is none.
  /(rope_scaling|rope_parameters|full_attention)=\{\}$/,
  // Null is absent, as in transformers, where that has a meaning.
  /(num_key_value_heads|head_dim|layer_types|sliding_window|partial_rotary_factor|rope_theta|rope_type|conv_L_cache)=null$/,
  /(rope_scaling|rope_parameters|block_ffn_dim_multiplier|use_bidirectional_attention|max_window_layers)=null$/,
  /use_bidirectional_attention=true$/,
  // A window as long as the context is none, and a pattern longer than the model leaves no layer out.
  /(sliding_window(_pattern)?|original_context_length)=huge$/,
  /\.sliding_window=0$/,
  // Any text may be a template, and a number of llama.cpp's newer poolings is refused when it is used.
  /chat_template="x?"$/,
  /pooling_type=(0|huge|-1)$/,
  /add_bos_token=true$/,
  /scale_linear=1\.5$/,
]

describe('keys of config.json', () => {
  const forms = families.flatMap(({ huggingFace }) => huggingFace ?? [])
  // Keys that no family honours by its own account have no effect, whatever they hold.
  const silentInAll = [...forms[0]!.keys.silent].filter((key) => forms.every(({ keys }) => keys.silent.has(key)))
  const honouredByAll = [
    'bos_token_id eos_token_id head_dim layer_types max_window_layers model_type original_max_position_embeddings',
    'rope_parameters rope_scaling sliding_window use_sliding_window vocab_size',
  ].flatMap((line) => line.split(' '))
  const slides = { use_sliding_window: true, sliding_window: 4, max_window_layers: 1, layer_types: undefined }

  test.each<[string, object?]>([
    ...['llama3', 'mistral', 'qwen2', 'qwen3', 'smollm3', 'gemma2', 'gemma3', 'gemma-embedding', 'phi3'].map(
      (name): [string] => [name],
    ),
    ...['granite', 'olmo2', 'exaone4', 'exaone4-windows', 'hunyuan-dense', 'lfm2', 'openelm'].map((name): [string] => [
      name,
    ]),
    ['qwen2', slides],
  ])('tiny-%s %o', async (name, change) => {
    const bytes = await bytesOf(`tiny-${name}`)
    const config = { ...JSON.parse(new TextDecoder().decode(bytes['config.json'])), ...change }
    const of = (text: string) => memoryFiles(name, { ...bytes, 'config.json': new TextEncoder().encode(text) })
    const base = await meaning(of(JSON.stringify(config)))
    const { keys } = forms.find((form) => form.name === config.model_type)!
    const read = [...keys.silent].filter((key) => !silentInAll.includes(key))
    const paths = [...new Set([...honouredByAll, ...read, ...Object.keys(keys.neutral)])].map((key) => [key])
    for (const outer of ['rope_scaling', 'rope_parameters'])
      for (const key of Object.keys(config[outer] ?? {})) paths.push([outer, key])
    const complaints: string[] = []
    for (const path of paths)
      for (const value of hostile) {
        const [outer, inner] = path as [string, string?]
        const mark = '"a hostile value"'
        const put = inner === undefined ? JSON.parse(mark) : { ...config[outer], [inner]: JSON.parse(mark) }
        const files = of(JSON.stringify({ ...config, [outer]: put }).replace(mark, value))
        const what = await complaint(files, base, inner ?? outer)
        const said = `${path.join('.')}=${value}`
        if (what !== undefined && !sensible.some((one) => one.test(said))) complaints.push(`${said} ${what}`)
      }
    expect(complaints).toEqual([])
  })
})

describe('keys of a GGUF', () => {
  const values: readonly [string, Metadata][] = [
    ['0', { u32: 0 }],
    ['-1', { f32: -1 }],
    ['1.5', { f32: 1.5 }],
    ['NaN', { f32: Number.NaN }],
    ['Infinity', { f32: Number.POSITIVE_INFINITY }],
    ['huge', { u64: 2n ** 52n }],
    ['""', { text: '' }],
    ['"x"', { text: 'x' }],
    ['[]', { ints: [] }],
    ['["x"]', { texts: ['x'] }],
    ['true', { flag: true }],
  ]

  test.each([
    ...['llama3', 'mistral', 'qwen2', 'qwen3', 'smollm3', 'gemma2', 'gemma3', 'phi3', 'granite', 'olmo2'],
    ...['exaone4', 'hunyuan-dense', 'lfm2', 'gemma-embedding'],
  ])('tiny-%s', async (name) => {
    const file = name === 'gemma-embedding' ? `tiny-${name}-f16` : `tiny-${name}`
    const { metadata, tensors } = await copied(readFileSync(vectors(`tiny-${name}/gguf/${file}.gguf`)))
    const of = (changed: object) => memoryFiles(name, { 'm.gguf': writeGguf({ ...metadata, ...changed }, tensors) })
    const base = await meaning(of({}))
    const { text: architecture } = metadata['general.architecture'] as { text: string }
    const { keys } = families.find(({ gguf }) => gguf?.name === architecture)!.gguf!
    const own = [...silentInGguf, ...(keys ?? []), ...Object.keys(neutralInGguf)]
    const complaints: string[] = []
    for (const key of new Set([...own.map((key) => `${architecture}.${key}`), ...Object.keys(metadata)]))
      for (const [shown, value] of values) {
        const what = await complaint(of({ [key]: value }), base, key)
        const said = `${key}=${shown}`
        if (what !== undefined && !sensible.some((one) => one.test(said))) complaints.push(`${said} ${what}`)
      }
    expect(complaints).toEqual([])
  })
})

/** Reads a GGUF in the form in which it is written. */
async function copied(file: Uint8Array) {
  const bytes = Uint8Array.from(file)
  const gguf = await readGguf(memorySource('m.gguf', bytes))
  const metadata: Record<string, Metadata> = {}
  for (const [key, value] of gguf.metadata) {
    if (typeof value === 'string') metadata[key] = { text: value }
    else if (typeof value === 'boolean') metadata[key] = { flag: value }
    else if (typeof value === 'number')
      metadata[key] = Number.isInteger(value) && value >= 0 ? { u32: value } : { f32: value }
    else {
      const [texts, numbers] = [await value.texts(1 << 16), await value.numbers()]
      if (texts) {
        const from = (id: number) => (id === 0 ? 0 : texts.ends[id - 1]!)
        metadata[key] = { texts: Array.from(texts.ends, (end, id) => texts.text.slice(from(id), end)) }
      } else if (numbers) {
        const list = Array.from(numbers)
        metadata[key] = list.every(Number.isInteger) ? { ints: list } : { floats: list }
      }
    }
  }
  const tensors = gguf.tensors.map(({ name, type, dims, offset, bytes: length }): WrittenTensor => {
    return { name, type, dims, bytes: bytes.slice(offset, offset + length) }
  })
  return { metadata, tensors }
}

describe('keys of the files of sentence-transformers', () => {
  // What none of our readers uses: a width that follows from the model, and the kind of a comparison.
  const unread = /word_embedding_dimension|similarity_fn_name|idx|name=|__version__/

  test.each([
    ['embedding-qwen3', ['1_Pooling/config.json', 'config_sentence_transformers.json', 'modules.json']],
    ['gemma-embedding', ['1_Pooling/config.json', '2_Dense/config.json', 'modules.json']],
  ])('tiny-%s', async (name, changed) => {
    const bytes = await bytesOf(`tiny-${name}`)
    const base = JSON.stringify((await openModel(memoryFiles(name, bytes))).embedding)
    const complaints: string[] = []
    const mark = '"a hostile value"'
    for (const file of changed) {
      const whole = JSON.parse(new TextDecoder().decode(bytes[file]))
      const places: [string, unknown][] = Array.isArray(whole)
        ? ['path', 'type'].map((key) => [key, whole.map((one, at) => (at === 1 ? { ...one, [key]: 'M' } : one))])
        : Object.keys(whole).map((key) => [key, { ...whole, [key]: 'M' }])
      for (const [key, place] of places)
        for (const value of hostile) {
          const text = JSON.stringify(place).replace('"M"', mark).replace(mark, value)
          const put = memoryFiles(name, { ...bytes, [file]: new TextEncoder().encode(text) })
          const { embedding } = await openModel(put)
          const said = `${file} ${key}=${value}`
          if (/prompts=(null|\{\})$/.test(said)) continue
          const isNamed = embedding?.refused?.includes(key) || embedding?.refused?.includes(file)
          if (!isNamed && JSON.stringify(embedding) !== base) complaints.push(`${said} ${JSON.stringify(embedding)}`)
          else if (!isNamed && value !== 'null' && !unread.test(said) && JSON.stringify(whole[key]) !== value)
            complaints.push(`${said} is silent`)
        }
    }
    expect(complaints).toEqual([])
  })
})
