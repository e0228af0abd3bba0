/**
 * Reads the tokenizer of a Hugging Face folder: tokenizer.json, and what the configs beside it add.
 */

import type { ModelFiles } from '../base/bytes.ts'
import { ForetokenError } from '../base/errors.ts'
import type { TokenizerSpec } from '../base/model.ts'
import { adviceWithoutTokenizer } from './families/index.ts'
import { isObject, type Json, readJson, show } from './json.ts'
import type { JsonBounds } from './json-scan.ts'
import { jsonBounds, limits } from './limits.ts'
import { readText } from './source.ts'

/**
 * Reads the tokenizer. `config` is config.json, `rows` the number of rows of the embedding. Throws
 * `not_found`, `bad_model`.
 */
export async function readTokenizer(
  files: ModelFiles,
  config: Json,
  rows: number,
): Promise<{ spec: TokenizerSpec; warnings: readonly string[] }> {
  const optional = async (file: string, bounds: JsonBounds): Promise<Json> =>
    files.files.includes(file) ? readJson(await files.open(file), bounds) : {}
  if (!files.files.includes('tokenizer.json')) {
    const advice = adviceWithoutTokenizer(config.model_type)
    const other = 'get it with the other files of the model, or use a GGUF, which holds its own'
    throw new ForetokenError('not_found', `${files.name} has no tokenizer.json; ${advice ?? other}`)
  }
  const json = await readJson(await files.open('tokenizer.json'), jsonBounds.tokenizer)
  const settings = await optional('tokenizer_config.json', jsonBounds.tokenizerConfig)
  const special = await optional('special_tokens_map.json', jsonBounds.tokenizerConfig)
  const generation = await optional('generation_config.json', jsonBounds.config)
  const template = files.files.includes('chat_template.jinja')
    ? await readText(await files.open('chat_template.jinja'), limits.template)
    : settings.chat_template
  const bosToken = textOf(settings.bos_token) ?? textOf(special.bos_token)
  const eosToken = textOf(settings.eos_token) ?? textOf(special.eos_token)
  const { eosIds, warnings } = endsOf({ name: files.name, rows }, json, eosToken, {
    'config.json': config.eos_token_id,
    'generation_config.json': generation.eos_token_id,
  })
  const spec = {
    json,
    config: settings,
    // An empty one would make every prompt empty.
    chatTemplate: (typeof template === 'string' ? template : defaultTemplate(template)) || undefined,
    bosToken,
    eosToken,
    eosIds,
    addBos: bosToken !== undefined && addsBos(json, settings, bosToken),
  }
  return { spec, warnings }
}

/**
 * Returns the union of all tokens that any file names as the end of an answer, since each file is
 * known to be wrong alone. An id beyond the embedding's rows is left out with a warning. Throws
 * `bad_model` if none is left.
 */
function endsOf(
  { name, rows }: { readonly name: string; readonly rows: number },
  json: Json,
  eosToken: string | undefined,
  said: Readonly<Record<string, unknown>>,
): { eosIds: number[]; warnings: string[] } {
  const ends = new Set<number>()
  const outside: string[] = []
  for (const [file, ids] of Object.entries(said))
    for (const id of [ids ?? []].flat()) {
      if (!Number.isSafeInteger(id))
        throw new ForetokenError('bad_model', `${name}/${file}: eos_token_id has ${show(id)}, which is not a token id`)
      // Some files write -1 for none.
      if ((id as number) < 0) continue
      if ((id as number) < rows) ends.add(id as number)
      else outside.push(`${file}: eos_token_id has ${id}, and the embedding rows 0 to ${rows - 1}`)
    }
  const id = eosToken === undefined ? undefined : idOf(json, eosToken)
  if (id !== undefined) ends.add(id)
  if (ends.size === 0 && outside.length > 0)
    throw new ForetokenError('bad_model', `${name}/${outside[0]}: no token would end an answer; correct the file`)
  const warnings = outside.map((what) => `${name}/${what}: the id is not used, since no such token can be drawn`)
  if (ends.size === 0) warnings.push(`${name}: no file says which token ends an answer: answers run to their limit`)
  return { eosIds: [...ends], warnings }
}

function idOf({ added_tokens: added, model }: Json, token: string): number | undefined {
  const entry = Array.isArray(added) ? added.find((one) => isObject(one) && one.content === token) : undefined
  const vocab = isObject(model) && isObject(model.vocab) ? model.vocab : {}
  const id: unknown = isObject(entry) ? entry.id : Object.hasOwn(vocab, token) ? vocab[token] : undefined
  return Number.isSafeInteger(id) ? (id as number) : undefined
}

/** Returns the text of a token, which is written as a text or as an object with its content. */
function textOf(token: unknown): string | undefined {
  if (typeof token === 'string') return token
  const content = isObject(token) ? token.content : undefined
  return typeof content === 'string' ? content : undefined
}

/** Returns the default template of a configuration, which may have several named ones. */
function defaultTemplate(templates: unknown): string | undefined {
  if (!Array.isArray(templates)) return undefined
  const named = templates.find((entry: unknown) => isObject(entry) && entry.name === 'default') as Json | undefined
  return typeof named?.template === 'string' ? named.template : undefined
}

/** Returns true if encoding begins with BOS, by a flag or by the post-processor's template. */
function addsBos(json: Json, settings: Json, bos: string): boolean {
  if (typeof settings.add_bos_token === 'boolean') return settings.add_bos_token
  return JSON.stringify(json.post_processor ?? null).includes(`"SpecialToken":{"id":${JSON.stringify(bos)}`)
}
