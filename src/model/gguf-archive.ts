/** A GGUF file as a `ModelArchive`. */

import type { ByteSource } from '../base/bytes.ts'
import { ForetokenError } from '../base/errors.ts'
import type { ModelArchive, ModelConfig, TensorInfo } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import { type ConfigNames, checkConfig } from './config.ts'
import { embeddingOfGguf } from './embedding-spec.ts'
import type { GgufForm } from './families/family.ts'
import { ggufFormOf } from './families/index.ts'
import { plainGgufNames } from './families/plain.ts'
import { fingerprint } from './fingerprint.ts'
import { type Gguf, readGguf } from './gguf.ts'
import type { GgufTensor } from './gguf-tensors.ts'
import { readGgufTokenizer } from './gguf-tokenizer.ts'
import { ignoredWarning, ignoring, keysOfMetadata, withoutMetadata } from './ignored-keys.ts'
import { show } from './json.ts'
import { checkGgufKeys } from './known-keys.ts'
import { MetadataReader } from './metadata.ts'
import { scalingOfGguf } from './rope.ts'
import { endWarnings, tokenlessRows } from './tokenless.ts'
import { nameTensors } from './weights.ts'
import { windowsIn } from './window.ts'

/** Factors of RoPE: of Llama 3's scaling, and of LongRoPE's short and long contexts. */
const [frequencies, short, long] = ['rope_freqs.weight', 'rope_factors_short.weight', 'rope_factors_long.weight']

/** What llama.cpp copies from the embedding of a reranker. */
const ranks = 'cls.output.weight'

/** Opens a GGUF; keys of its architecture in `ignored` are read as if they were not there. */
export async function openGguf(name: string, source: ByteSource, ignored: ReadonlySet<string>): Promise<ModelArchive> {
  const gguf = await readGguf(source)
  const prefix = `${gguf.metadata.get('general.architecture')}.`
  const dropped = keysOfMetadata(gguf.metadata, prefix, ignored)
  const without = (keys: ReadonlySet<string>) => new MetadataReader(withoutMetadata(gguf.metadata, keys), source.name)
  const metadata = without(new Set(dropped.map(({ key }) => key)))
  if ((metadata.optionalNumber('split.count') ?? 1) > 1)
    throw new ForetokenError(
      'unsupported',
      `${source.name} is one part of a split GGUF; merge the parts into one file first`,
    )
  const found = new Map(gguf.tensors.map((tensor) => [tensor.name, matrix(tensor, source)]))
  const { config, form } = await configOf(metadata, found)
  const isFactors = (tensor: string) =>
    tensor === frequencies || (found.has(short) && (tensor === short || tensor === long))
  const embedding = { ...embeddingOfGguf(metadata, prefix.slice(0, -1)), ...form.embedding?.(config) }
  // A reranker's rows of "yes" and "no", which the embedding has, too.
  const isRanks = (tensor: string) => tensor === ranks && embedding.ranks === true && config.tiedEmbedding
  const unused = (tensor: string) => isFactors(tensor) || isRanks(tensor)
  const tensors = nameTensors(config, found, 'gguf', source.name, unused)
  const tokenizer = await readGgufTokenizer(metadata, config.vocab)
  const { spec } = tokenizer
  const tokenless = tokenlessRows(tokenizer.ids, config.vocab, source.name)
  return {
    name,
    config,
    tensors,
    tokenizer: spec,
    embedding,
    tokenless,
    ...licenceOf(gguf.metadata),
    ...(await ignoring(ignored, dropped, (keys) => configOf(without(keys), found))),
    warnings: [
      ...ignoredWarning(dropped, source.name),
      ...vocabularyWarnings(metadata, prefix, config),
      ...tokenizer.warnings,
      ...endWarnings(spec, tokenless, source.name),
    ],
    fingerprint: await fingerprint(config, tensors),
  }
}

/** Returns the licence that the metadata of a GGUF names; nothing for what is no text. */
export function licenceOf(metadata: Gguf['metadata']): Pick<ModelArchive, 'licence'> {
  const said = ['general.license', 'general.license.name', 'general.license.link'].map((key) => metadata.get(key))
  const texts = said.filter((text) => typeof text === 'string' && text.trim() !== '')
  return texts.length === 0 ? {} : { licence: [...new Set(texts)].join(', ').slice(0, 200) }
}

async function configOf(
  metadata: MetadataReader,
  found: ReadonlyMap<string, TensorInfo>,
): Promise<{ config: ModelConfig; form: GgufForm }> {
  const { where } = metadata
  const name = metadata.text('general.architecture')
  if (name === 'clip')
    throw new ForetokenError(
      'unsupported',
      `${where} is a projector of images (mmproj), and only text is run: use the GGUF of the model itself, which is published beside it without mmproj in its name`,
    )
  const form = ggufFormOf(name, where)
  const optional = (key: string) => metadata.optionalNumber(`${form.name}.${key}`)
  const names = namesOf(metadata, form)
  const plain = checkConfig(await form.read(metadata, found), where, names)
  const { headDim } = plain
  const values = optional('attention.value_length') ?? headDim
  const turned = optional('rope.dimension_count') ?? headDim
  if (values !== headDim || turned !== (plain.ropeTurned ?? headDim))
    throw new ForetokenError(
      'unsupported',
      `${where}: heads of ${headDim} with values of ${values} (${form.name}.attention.value_length) and RoPE over ${turned} (${names.ropeTurned})`,
    )
  checkGgufKeys(metadata.keys, `${form.name}.`, (key) => metadata.value(key), plain, where, form.keys)
  const factorsOf = async (name: string) => {
    const factors = found.get(name)
    return factors && (await readFloats(factors, (plain.ropeTurned ?? headDim) / 2))
  }
  const scaling = {
    prefix: `${form.name}.`,
    type: metadata.value(`${form.name}.rope.scaling.type`),
    factor: optional('rope.scaling.factor'),
    older: optional('rope.scale_linear'),
    factors: await factorsOf(frequencies),
    short: await factorsOf(short),
    long: await factorsOf(long),
    amplitude: optional('rope.scaling.attn_factor'),
    original: optional('rope.scaling.original_context_length'),
  }
  const scaled = { ...plain, ...scalingOfGguf(scaling, plain, where) }
  const windows = windowsIn(windowsOf(metadata, form, scaled), scaled.maxContext)
  return { config: checkConfig({ ...scaled, ...windows }, where, names), form }
}

/** Returns the keys that give the fields of a config, for messages. */
function namesOf(metadata: MetadataReader, { name, names }: GgufForm): ConfigNames {
  const entries = Object.entries({ ...plainGgufNames, ...names }).map(([field, key]) => [field, `${name}.${key}`])
  const all: ConfigNames = Object.fromEntries(entries)
  // A size of heads that the file does not say follows from two that it does.
  return metadata.value(`${name}.attention.key_length`) === undefined
    ? { ...all, headDim: `${all.hidden} / ${all.heads}` }
    : all
}

/**
 * Returns the windows of the layers that slide, all of `attention.sliding_window` tokens; undefined
 * if all see the whole context. A pattern that the family does not read is refused. Throws
 * `bad_model`, `unsupported`.
 */
function windowsOf(
  metadata: MetadataReader,
  { name: prefix, slides, windowOf = (tokens) => tokens }: GgufForm,
  { layers, maxContext }: ModelConfig,
): readonly number[] | undefined {
  const { where } = metadata
  const key = `${prefix}.attention.sliding_window`
  const said = metadata.optionalNumber(key) ?? 0
  if (!isWhole(said))
    throw new ForetokenError('bad_model', `${where}: ${key} is ${said}; expected a number of tokens, or 0 for all`)
  const window = windowOf(said)
  if (said === 0 && metadata.value(key) !== undefined && slides?.(metadata, layers).includes(true))
    throw new ForetokenError('bad_model', `${where}: ${key} is 0; expected a number of tokens, since layers slide`)
  if (said === 0 || window >= maxContext) return undefined
  if (slides) return slides(metadata, layers).map((slides) => (slides ? window : 0))
  if (metadata.value(`${key}_pattern`) !== undefined)
    throw new ForetokenError(
      'unsupported',
      `${where}: ${key}_pattern: windows of some layers only are not read from a GGUF of ${prefix}; use the model's safetensors`,
    )
  return new Array<number>(layers).fill(window)
}

/**
 * Returns warnings about the vocabulary's size. Rows beyond it are padding, and not drawn if they
 * have no token. Throws `bad_model` for a file that promises more rows than its embedding has.
 */
function vocabularyWarnings(metadata: MetadataReader, prefix: string, { vocab }: ModelConfig): string[] {
  const key = `${prefix}vocab_size`
  const said = metadata.optionalNumber(key) ?? vocab
  const what = `${metadata.where}: ${key} is ${said}, and the embedding has ${vocab} rows`
  if (said > vocab)
    throw new ForetokenError('bad_model', `${what}: it is cut off, or another model's; get the file again`)
  return said < vocab ? [`${what}: the rows are used, as far as they have a token`] : []
}

function matrix(tensor: GgufTensor, source: ByteSource): TensorInfo {
  const { name, type, dims, offset, bytes } = tensor
  const [cols = 1, rows = 1, ...rest] = dims
  if (rest.some((dim) => dim !== 1))
    throw new ForetokenError(
      'unsupported',
      `${source.name}: tensor ${show(name)} has ${dims.length} dimensions, ${dims.join(' x ')}`,
    )
  return { name, type, rows, cols, source, offset, bytes }
}

async function readFloats(tensor: TensorInfo, count: number): Promise<number[]> {
  const { name, type, rows, cols, source, offset } = tensor
  if (type !== 'f32' || rows !== 1 || cols !== count)
    throw new ForetokenError(
      'bad_model',
      `${source.name}: ${name} is ${rows} x ${cols} ${type}; expected ${count} f32, one for each pair of a head`,
    )
  const bytes = new Uint8Array(tensor.bytes)
  await source.read(offset, bytes)
  const view = new DataView(bytes.buffer)
  return Array.from({ length: cols }, (_, i) => view.getFloat32(i * 4, true))
}
