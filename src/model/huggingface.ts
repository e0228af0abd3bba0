/** A Hugging Face folder (config.json, safetensors, tokenizer.json) as a `ModelArchive`. */

import type { ByteSource, ModelFiles } from '../base/bytes.ts'
import { ForetokenError } from '../base/errors.ts'
import type { ModelArchive, ModelConfig, TensorInfo } from '../base/model.ts'
import { type ConfigNames, checkConfig } from './config.ts'
import { modulesOfFolder } from './embedding-modules.ts'
import { embeddingOfFolder } from './embedding-spec.ts'
import { familyOf, huggingFaceFormOf } from './families/index.ts'
import { plainNames } from './families/plain.ts'
import { fingerprint } from './fingerprint.ts'
import { ignoredWarning, ignoring, keysOfJson, withoutKeys } from './ignored-keys.ts'
import { isObject, type Json, readJson, show } from './json.ts'
import { checkKeys } from './known-keys.ts'
import { jsonBounds, limits } from './limits.ts'
import { scalingOfJson } from './rope.ts'
import { readSafetensors } from './safetensors.ts'
import { readTokenizer } from './tokenizer-files.ts'
import { endWarnings, tokenIdsOf, tokenlessRows } from './tokenless.ts'
import { nameTensors } from './weights.ts'
import { windowsIn } from './window.ts'

const headName = 'lm_head.weight'

/** Opens a folder; keys of config.json in `ignored` are read as if they were not there. */
export async function openHuggingFace(files: ModelFiles, ignored: ReadonlySet<string>): Promise<ModelArchive> {
  const where = `${files.name}/config.json`
  const whole = await readJson(await files.open('config.json'), jsonBounds.config)
  const found = keysOfJson(whole, ignored)
  const json = withoutKeys(whole, new Set(found.map(({ key }) => key)))
  const { config: said, tied, names } = configOf(json, where)
  const { found: stored, bare } = prefixed(await readShards(files))
  const modules = await modulesOfFolder(files)
  for (const layer of modules.dense) stored.set(layer.name, layer)
  const headless = bare && tied === false
  const head = await headOf(stored, said, headless ? true : tied, where)
  const dense = modules.dense.map(({ rows }) => rows)
  const config = checkConfig({ ...said, tiedEmbedding: head.tied, ...(dense.length > 0 && { dense }) }, where, names)
  const ignore = (name: string) => isBuffer(name) || (head.tied && name === headName)
  const tensors = nameTensors(config, stored, 'huggingFace', files.name, ignore)
  const tokenizer = await readTokenizer(files, json, config.vocab)
  const { spec } = tokenizer
  const tokenless = tokenlessRows(tokenIdsOf(spec), config.vocab, files.name)
  const ends = endWarnings(spec, tokenless, files.name)
  return {
    name: files.name,
    config,
    tensors,
    tokenizer: spec,
    embedding: await embeddingOfFolder(files, spec, config.vocab, modules.pooling),
    tokenless,
    ...(await ignoring(ignored, found, (keys) => configOf(withoutKeys(whole, keys), where))),
    warnings: [
      ...ignoredWarning(found, where),
      ...(headless ? [withoutHead(files.name)] : []),
      ...head.warnings,
      ...tokenizer.warnings,
      ...ends,
    ],
    fingerprint: await fingerprint(config, tensors),
  }
}

/**
 * Gives the tensors of a model that was saved without its head, as embedding models are, the names
 * that they have in a whole one: `model.layers.0...` for `layers.0...`.
 */
function prefixed(found: Map<string, TensorInfo>): { found: Map<string, TensorInfo>; bare: boolean } {
  const bare = found.has('embed_tokens.weight') && ![...found.keys()].some((name) => name.startsWith('model.'))
  if (!bare) return { found, bare }
  return { found: new Map([...found].map(([name, tensor]) => [`model.${name}`, tensor])), bare }
}

function withoutHead(name: string): string {
  return `${name} was saved without its head: it makes embeddings, and its answers would mean nothing`
}

/**
 * Returns true for tensors of older files that follow from the config: rotary frequencies, and
 * values of masked scores.
 */
function isBuffer(name: string): boolean {
  return /\.(rotary_emb\.inv_freq|masked_bias)$/.test(name)
}

async function readShards(files: ModelFiles): Promise<Map<string, TensorInfo>> {
  const names = await shardNames(files)
  const found = new Map<string, TensorInfo>()
  for (const name of names)
    for (const tensor of await readSafetensors(await files.open(name))) {
      if (found.has(tensor.name))
        throw new ForetokenError('bad_model', `${files.name} has the tensor ${show(tensor.name)} in two files`)
      found.set(tensor.name, tensor)
      if (found.size > limits.tensors)
        throw new ForetokenError('bad_model', `${files.name} has more than ${limits.tensors} tensors`)
    }
  return found
}

async function shardNames(files: ModelFiles): Promise<string[]> {
  if (files.files.includes('model.safetensors')) return ['model.safetensors']
  const index = 'model.safetensors.index.json'
  if (!files.files.includes(index))
    throw new ForetokenError('not_found', `${files.name} has neither model.safetensors nor ${index}`)
  const { weight_map: map } = await readJson(await files.open(index), jsonBounds.index)
  if (!isObject(map)) throw new ForetokenError('bad_model', `${files.name}: the index has no weight_map`)
  const names = [...new Set(Object.values(map))]
  if (names.length > limits.shards)
    throw new ForetokenError(
      'bad_model',
      `${files.name}: the index names ${names.length} files; at most ${limits.shards} are read`,
    )
  const here = new Set(files.files)
  for (const name of names)
    if (typeof name !== 'string' || !here.has(name))
      throw new ForetokenError('not_found', `${files.name}: the index names ${show(name)}, which is not there`)
  return names as string[]
}

/** Reads and checks config.json. Whether the head is tied is settled with the tensors. */
function configOf(whole: Json, where: string) {
  if (isObject(whole.vision_config))
    throw new ForetokenError(
      'unsupported',
      `${where} has a vision_config, and only text is run: use a model of the family without images, or a GGUF of its text part`,
    )
  const form = huggingFaceFormOf(whole.model_type, where)
  const json = form.normal?.(whole, where) ?? whole
  // Checked before anything is made of its numbers.
  const own: ConfigNames = { ...plainNames, ...form.names }
  // A size of heads that the file does not say follows from two that it does.
  const names: ConfigNames = {
    ...own,
    ...((json.head_dim ?? undefined) === undefined && { headDim: `${own.hidden} / ${own.heads}` }),
  }
  const checked = checkConfig(form.read(json, where), where, names)
  const scaled: ModelConfig = { ...checked, ...scalingOfJson(json, checked, where) }
  checkKeys(json, form.keys, checked, where)
  const windows = windowsIn(form.windows(json, checked.layers, where), scaled.maxContext)
  const config: ModelConfig = { ...scaled, ...windows }
  const tied = form.tied(json)
  if (tied !== undefined && tied !== null && typeof tied !== 'boolean')
    throw new ForetokenError('bad_model', `${where}: ${names.tiedEmbedding} is ${show(tied)}, not true or false`)
  return { config, tied: tied ?? undefined, names }
}

/**
 * Determines whether the embedding is also the head: as the config says, unless the tensors
 * contradict it. Compares a head that is stored beside the embedding with it. Throws `bad_model` if
 * a head is missing.
 */
async function headOf(
  found: ReadonlyMap<string, TensorInfo>,
  config: ModelConfig,
  tied: boolean | undefined,
  where: string,
): Promise<{ tied: boolean; warnings: string[] }> {
  const head = found.get(headName)
  const embedName = familyOf(config).tensor('embed', { config, layer: undefined }).huggingFace
  const embed = found.get(embedName)
  if (!head) {
    if (tied === false)
      throw new ForetokenError(
        'bad_model',
        `${where} says that the head is not the embedding, and there is no tensor ${headName}; get the file that has it`,
      )
    const silent = `${where} does not say whether the embedding is the head, and there is no tensor ${headName}: it is taken as the head`
    return { tied: true, warnings: tied === undefined ? [silent] : [] }
  }
  if (tied !== true || !embed) return { tied: false, warnings: [] }
  if (await sameBytes(head, embed)) return { tied: true, warnings: [] }
  return {
    tied: false,
    warnings: [
      `${where} says that the embedding is the head, and ${headName} differs from ${embedName}: ${headName} is used`,
    ],
  }
}

/** Compares two tensors up to the first piece that differs. */
async function sameBytes(a: TensorInfo, b: TensorInfo): Promise<boolean> {
  if (a.type !== b.type || a.rows !== b.rows || a.cols !== b.cols) return false
  const piece = 1 << 20
  for (let at = 0; at < a.bytes; at += piece) {
    const length = Math.min(piece, a.bytes - at)
    const [left, right] = [
      await pieceOf(a.source, a.offset + at, length),
      await pieceOf(b.source, b.offset + at, length),
    ]
    if (left.some((byte, i) => byte !== right[i])) return false
  }
  return true
}

async function pieceOf(source: ByteSource, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length)
  await source.read(offset, bytes)
  return bytes
}
