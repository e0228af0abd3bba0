/** A Hugging Face folder (config.json, safetensors, tokenizer.json) as a `ModelArchive`. */
import { ForetokenError } from '../errors.ts'
import type { ModelArchive, ModelConfig, ModelFiles, TensorInfo, TokenizerSpec } from '../types.ts'
import { architectureOf, checkConfig, llama3Divisors, numberOf } from './config.ts'
import { fingerprint } from './fingerprint.ts'
import { openElmConfig } from './openelm.ts'
import { readSafetensors } from './safetensors.ts'
import { readJson, readText } from './source.ts'
import { nameTensors } from './weights.ts'

type Json = Record<string, unknown>

const openElmTokenizer = "; OpenELM was made with Llama 2's and brings none: put that tokenizer.json beside config.json"

export async function openHuggingFace(files: ModelFiles): Promise<ModelArchive> {
  const json = await readJson(await files.open('config.json'))
  const found = await readShards(files)
  const config = checkConfig(configOf(json, found, `${files.name}/config.json`), files.name)
  const ignore = (name: string) =>
    name.endsWith('rotary_emb.inv_freq') || (config.tiedEmbedding && name === 'lm_head.weight')
  const tensors = nameTensors(config, found, 'huggingFace', files.name, ignore)
  return {
    name: files.name,
    config,
    tensors,
    tokenizer: await readTokenizer(files, json),
    fingerprint: await fingerprint(config, tensors),
  }
}

async function readShards(files: ModelFiles): Promise<Map<string, TensorInfo>> {
  const names = await shardNames(files)
  const found = new Map<string, TensorInfo>()
  for (const name of names)
    for (const tensor of await readSafetensors(await files.open(name))) {
      if (found.has(tensor.name))
        throw new ForetokenError('bad_model', `${files.name} has the tensor ${tensor.name} in two files`)
      found.set(tensor.name, tensor)
    }
  return found
}

async function shardNames(files: ModelFiles): Promise<string[]> {
  if (files.files.includes('model.safetensors')) return ['model.safetensors']
  if (!files.files.includes('model.safetensors.index.json'))
    throw new ForetokenError(
      'not_found',
      `${files.name} has neither model.safetensors nor model.safetensors.index.json`,
    )
  const { weight_map: map } = await readJson(await files.open('model.safetensors.index.json'))
  if (typeof map !== 'object' || map === null)
    throw new ForetokenError('bad_model', `${files.name}: the index has no weight_map`)
  const names = [...new Set(Object.values(map))]
  for (const name of names)
    if (typeof name !== 'string' || !files.files.includes(name))
      throw new ForetokenError(
        'not_found',
        `${files.name}: the index names ${JSON.stringify(name)}, which is not there`,
      )
  return names as string[]
}

function configOf(json: Json, found: ReadonlyMap<string, TensorInfo>, where: string): ModelConfig {
  const architecture = architectureOf(json.model_type, 'safetensors', where)
  if (architecture === 'openelm') return openElmConfig(json, where)
  const number = (key: string, otherwise?: number) => numberOf(json, key, where, otherwise)
  const heads = number('num_attention_heads')
  const hidden = number('hidden_size')
  const headDim = number('head_dim', hidden / heads)
  const rope = (json.rope_parameters ?? {}) as Json
  const ropeTheta = number('rope_theta', (rope.rope_theta as number | undefined) ?? 10_000)
  const divisors = divisorsOf(
    (json.rope_scaling ?? json.rope_parameters) as Json | undefined,
    { headDim, theta: ropeTheta },
    where,
  )
  if (json.use_sliding_window === true)
    throw new ForetokenError(
      'unsupported',
      `${where}: a sliding attention window; foretoken attends to the whole context`,
    )
  return {
    architecture,
    layers: number('num_hidden_layers'),
    hidden,
    intermediate: number('intermediate_size'),
    heads,
    kvHeads: number('num_key_value_heads', heads),
    headDim,
    vocab: number('vocab_size'),
    maxContext: number('max_position_embeddings', 2048),
    rmsEps: number('rms_norm_eps', 1e-6),
    ropeTheta,
    ropePairs: 'half',
    ...(divisors && { ropeDivisors: divisors }),
    tiedEmbedding: json.tie_word_embeddings === true || !found.has('lm_head.weight'),
  }
}

function divisorsOf(
  scaling: Json | undefined,
  rope: { headDim: number; theta: number },
  where: string,
): number[] | undefined {
  const type = scaling?.rope_type ?? scaling?.type ?? 'default'
  if (!scaling || type === 'default') return undefined
  const number = (key: string): number => {
    const value = scaling[key]
    if (typeof value === 'number' && value > 0) return value
    throw new ForetokenError(
      'bad_model',
      `${where}: rope_scaling.${key} is ${JSON.stringify(value)}, not a positive number`,
    )
  }
  if (type === 'linear') return new Array<number>(rope.headDim / 2).fill(number('factor'))
  if (type === 'llama3')
    return llama3Divisors(rope, {
      factor: number('factor'),
      low: number('low_freq_factor'),
      high: number('high_freq_factor'),
      original: number('original_max_position_embeddings'),
    })
  throw new ForetokenError(
    'unsupported',
    `${where}: RoPE scaling ${JSON.stringify(type)}; default, linear and llama3 are run`,
  )
}

/** The tokenizer of a folder, with what its config.json adds. */
export async function readTokenizer(files: ModelFiles, config: Json): Promise<TokenizerSpec> {
  const optional = async (file: string): Promise<Json> =>
    files.files.includes(file) ? readJson(await files.open(file)) : {}
  if (!files.files.includes('tokenizer.json'))
    throw new ForetokenError(
      'not_found',
      `${files.name} has no tokenizer.json${config.model_type === 'openelm' ? openElmTokenizer : ''}`,
    )
  const json = await readJson(await files.open('tokenizer.json'))
  const settings = await optional('tokenizer_config.json')
  const generation = await optional('generation_config.json')
  const template = files.files.includes('chat_template.jinja')
    ? await readText(await files.open('chat_template.jinja'))
    : settings.chat_template
  const bosToken = textOf(settings.bos_token)
  const ends = [generation.eos_token_id ?? config.eos_token_id].flat().filter((id) => typeof id === 'number')
  return {
    json,
    config: settings,
    chatTemplate: typeof template === 'string' ? template : defaultTemplate(template),
    bosToken,
    eosToken: textOf(settings.eos_token),
    eosIds: ends,
    addBos: bosToken !== undefined && addsBos(json, settings, bosToken),
  }
}

/** A token is written as a text, or as an object with its content. */
function textOf(token: unknown): string | undefined {
  if (typeof token === 'string') return token
  const content = (token as Json | null | undefined)?.content
  return typeof content === 'string' ? content : undefined
}

/** Some configurations have several named templates. */
function defaultTemplate(templates: unknown): string | undefined {
  if (!Array.isArray(templates)) return undefined
  const named = templates.find((entry: Json) => entry?.name === 'default') as Json | undefined
  return typeof named?.template === 'string' ? named.template : undefined
}

/** Whether encoding begins with BOS: said outright, or by the post-processor's template. */
function addsBos(json: Json, settings: Json, bos: string): boolean {
  if (typeof settings.add_bos_token === 'boolean') return settings.add_bos_token
  return JSON.stringify(json.post_processor ?? null).includes(`"SpecialToken":{"id":${JSON.stringify(bos)}`)
}
