/**
 * Reads how a model makes a vector of a text: from the metadata of a GGUF (`ARCH.pooling_type`), or
 * from the files of sentence-transformers in a folder (config_sentence_transformers.json; its modules
 * are read by embedding-modules.ts).
 */
import type { ModelFiles } from '../base/bytes.ts'
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import { type EmbeddingSpec, type Pooling, poolings, type TokenizerSpec } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import type { ModulePooling } from './embedding-modules.ts'
import { isObject, readJson, show } from './json.ts'
import { jsonBounds } from './limits.ts'
import type { MetadataReader } from './metadata.ts'

/** The spec of a model whose files do not speak of embeddings. */
export const plainEmbedding: EmbeddingSpec = { normalize: true, prompts: {}, endIds: [] }

/** Maximum number of tokens that are put behind a text. */
const mostEndIds = 16

/** llama.cpp's numbers of poolings. */
const [ggufUnspecified, ggufNone, ggufMean, ggufFirst, ggufLast, ggufRank] = [-1, 0, 1, 2, 3, 4]
const ggufPoolings: Readonly<Record<number, Pooling>> = { [ggufMean]: 'mean', [ggufFirst]: 'cls', [ggufLast]: 'last' }

/** Reads the spec of a GGUF of architecture `name`. Throws `bad_model`. */
export function embeddingOfGguf(metadata: MetadataReader, name: string): EmbeddingSpec {
  const key = `${name}.pooling_type`
  const number = metadata.optionalNumber(key) ?? ggufNone
  if (!isWhole(number) && number !== ggufUnspecified)
    throw new ForetokenError('bad_model', `${metadata.where}: ${key} is ${number}; expected a whole number`)
  const pooling = ggufPoolings[number]
  const eos = metadata.optionalNumber('tokenizer.ggml.eos_token_id')
  const ends = metadata.optionalFlag('tokenizer.ggml.add_eos_token') ?? false
  return {
    ...plainEmbedding,
    ...(pooling && { pooling }),
    ...(number === ggufRank && { ranks: true }),
    ...(!pooling && number > ggufNone && number !== ggufRank && { refused: `its pooling_type is ${number}` }),
    endIds: ends && eos !== undefined ? [eos] : [],
  }
}

/**
 * Reads the spec of a Hugging Face folder whose model has `vocab` rows. `pooling` is what its modules
 * say. Files that make no sense are the spec's `refused`, since the model may be wanted for something
 * else.
 */
export async function embeddingOfFolder(
  files: ModelFiles,
  tokenizer: TokenizerSpec,
  vocab: number,
  pooling: ModulePooling | undefined,
): Promise<EmbeddingSpec> {
  try {
    const { after: endIds } = framesOf(tokenizer.json.post_processor, files.name, vocab)
    if (!pooling) return { ...plainEmbedding, endIds }
    return { ...plainEmbedding, endIds, ...(await promptsOf(files)), ...pooling }
  } catch (error) {
    const { code, message } = asForetokenError(error)
    if (code !== 'bad_model' && code !== 'not_found') throw error
    return { ...plainEmbedding, refused: message }
  }
}

/** Reads the spec that a prepared file holds as JSON; undefined if it makes no sense. */
export function embeddingOfJson(json: unknown, vocab: number): EmbeddingSpec | undefined {
  if (!isObject(json)) return undefined
  const { pooling, normalize, prompts, defaultPrompt, endIds, ranks = false, refused } = json
  const isOptionalText = (value: unknown) => value === undefined || isText(value)
  const sound =
    (pooling === undefined || poolings.includes(pooling as Pooling)) &&
    typeof normalize === 'boolean' &&
    isObject(prompts) &&
    Object.values(prompts).every(isText) &&
    Array.isArray(endIds) &&
    endIds.length <= mostEndIds &&
    endIds.every((id) => isWhole(id, 0, vocab - 1)) &&
    [defaultPrompt, refused].every(isOptionalText) &&
    typeof ranks === 'boolean'
  return sound ? (json as unknown as EmbeddingSpec) : undefined
}

/** Reads the texts that are put before what is embedded. */
async function promptsOf(files: ModelFiles): Promise<Pick<EmbeddingSpec, 'prompts' | 'defaultPrompt'>> {
  const file = 'config_sentence_transformers.json'
  if (!files.files.includes(file)) return { prompts: {} }
  const { prompts, default_prompt_name: name } = await readJson(await files.open(file), jsonBounds.config)
  const where = `${files.name}/${file}`
  if (prompts !== undefined && prompts !== null && !(isObject(prompts) && Object.values(prompts).every(isText)))
    throw new ForetokenError('bad_model', `${where}: prompts is ${show(prompts)}, not texts by name`)
  const texts = (prompts ?? {}) as Record<string, string>
  if (name === undefined || name === null) return { prompts: texts }
  if (typeof name !== 'string')
    throw new ForetokenError('bad_model', `${where}: default_prompt_name is ${show(name)}, not the name of a prompt`)
  if (!Object.hasOwn(texts, name))
    throw new ForetokenError(
      'bad_model',
      `${where}: default_prompt_name is ${show(name)}, which is none of its prompts`,
    )
  return { prompts: texts, defaultPrompt: name }
}

function isText(value: unknown): boolean {
  return typeof value === 'string'
}

/** Ids that are put around a text. */
export interface Frame {
  readonly before: readonly number[]
  readonly after: readonly number[]
}

/**
 * Returns the ids that a tokenizer.json puts around a text: those of the special tokens in its
 * template. Throws `bad_model`.
 */
export function framesOf(processor: unknown, name: string, vocab: number): Frame {
  const none: Frame = { before: [], after: [] }
  if (!isObject(processor)) return none
  const { type, single, special_tokens: tokens, processors, cls, sep } = processor
  const checked = (ids: unknown, what: unknown) => {
    if (Array.isArray(ids) && ids.length <= mostEndIds && ids.every((id) => isWhole(id, 0, vocab - 1))) return ids
    throw new ForetokenError(
      'bad_model',
      `${name}/tokenizer.json puts ${show(what)} around a text, without ids below ${vocab}`,
    )
  }
  if (type === 'Sequence' && Array.isArray(processors)) {
    const frames = processors.map((one) => framesOf(one, name, vocab))
    return {
      before: frames.toReversed().flatMap(({ before }) => before),
      after: frames.flatMap(({ after }) => after),
    }
  }
  // Both are pairs of a text and an id.
  if (type === 'BertProcessing' || type === 'RobertaProcessing')
    return { before: checked([cls].flat().slice(1), cls), after: checked([sep].flat().slice(1), sep) }
  if (type !== 'TemplateProcessing' || !Array.isArray(single)) return none
  const idsOf = (pieces: readonly unknown[]) =>
    pieces.flatMap((piece) => {
      const special = isObject(piece) && isObject(piece.SpecialToken) ? piece.SpecialToken.id : undefined
      const entry = isObject(tokens) && typeof special === 'string' ? tokens[special] : undefined
      return checked(isObject(entry) ? entry.ids : undefined, piece)
    })
  const text = single.findIndex((piece) => isObject(piece) && isObject(piece.Sequence))
  return { before: text < 0 ? [] : idsOf(single.slice(0, text)), after: idsOf(single.slice(text + 1)) }
}
