/** Reads an ONNX folder: its model file, the weights beside it, its config and its tokenizer. */

import type { ByteSource, ModelFiles } from '../base/bytes.ts'
import { wrong } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import type { ModelArchive } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import type { Engine } from '../engine/engine.ts'
import { readJson, show } from '../model/json.ts'
import { jsonBounds, limits } from '../model/limits.ts'
import { readTokenizer } from '../model/tokenizer-files.ts'
import { endWarnings, tokenIdsOf, tokenlessRows } from '../model/tokenless.ts'
import type { OrtOptions } from './session.ts'

/** The description of a model in an ONNX folder: an archive without its weights. */
export type OnnxFolder = Pick<ModelArchive, 'name' | 'config' | 'tokenizer' | 'tokenless' | 'warnings' | 'embedding'>

/**
 * Returns the name of the folder's model file. Throws `not_found` if there is none, or if several
 * are possible.
 */
export function onnxFile({ name, files }: ModelFiles): string {
  const found = files.filter((file) => file.endsWith('.onnx'))
  const preferred = ['model.onnx', 'decoder_model_merged.onnx'].flatMap((wanted) =>
    found.filter((file) => file.endsWith(wanted)),
  )
  const file = preferred[0] ?? (found.length === 1 ? found[0] : undefined)
  if (file) return file
  throw new ForetokenError(
    'not_found',
    found.length === 0
      ? `${name} has no .onnx file`
      : `${name} has ${found.join(', ')}; keep one, or name it model.onnx`,
  )
}

/** Reads the weight files beside the model. */
export async function externalOf(files: ModelFiles, file: string, { externalData }: OrtOptions) {
  if (externalData) return externalData
  const { length } = folderOf(file)
  return Promise.all(
    weightFiles(files, file).map(async (one) => ({
      path: one.slice(length),
      data: await whole(await files.open(one)),
    })),
  )
}

function folderOf(file: string): string {
  return file.slice(0, file.lastIndexOf('/') + 1)
}

/** Returns the names of the weight files beside a model, which exports give one of a few endings. */
function weightFiles({ files }: ModelFiles, file: string): string[] {
  const folder = folderOf(file)
  return files.filter((one) => one.startsWith(folder) && /\.(onnx_data(_\d+)?|onnx\.data|data)$/.test(one))
}

/** Resolves with the bytes of the model's graph and of its weights. Throws `not_found`. */
export async function graphBytes(files: ModelFiles): Promise<number> {
  const file = onnxFile(files)
  const sizes = await Promise.all([file, ...weightFiles(files, file)].map(async (one) => (await files.open(one)).size))
  return sizes.reduce((sum, bytes) => sum + bytes, 0)
}

/**
 * Checks what a folder says of its model besides the graph, and resolves with the bytes of the graph and
 * its weights. Throws `not_found`, `bad_model` and `bad_argument`.
 */
export async function checkFolder(files: ModelFiles, { context }: { readonly context?: number }): Promise<number> {
  checkContext(await readFolder(files, undefined), context)
  return graphBytes(files)
}

/** Throws `bad_argument` for a context beyond the model's. */
export function checkContext({ name, config }: Pick<OnnxFolder, 'name' | 'config'>, wanted: number | undefined): void {
  const most = config.maxContext
  if (wanted !== undefined && wanted > most)
    throw wrong('context', `a whole number from 2 to ${most} for ${name}`, wanted)
}

/** Reads a whole file. */
export async function whole(source: ByteSource): Promise<Uint8Array> {
  const bytes = new Uint8Array(source.size)
  await source.read(0, bytes)
  return bytes
}

/**
 * Reads config.json and the tokenizer. Few fields are needed, and no family is refused, since the
 * graph defines the computation. Throws `bad_model`.
 */
export async function readFolder(files: ModelFiles, reader: Engine | undefined): Promise<OnnxFolder> {
  // An .onnx file alone is enough if the Rust core has the same model.
  if (reader && !files.files.includes('tokenizer.json')) return { ...reader.archive, name: files.name }
  const json = await readJson(await files.open('config.json'), jsonBounds.config)
  const checked = (key: string, value: unknown, least: number, most: number): number => {
    if (isWhole(value, least, most)) return value
    throw new ForetokenError(
      'bad_model',
      `${files.name}/config.json: ${key} is ${show(value)}; expected a whole number from ${least} to ${most}: take the config.json of the export`,
    )
  }
  const vocab = checked('vocab_size', json.vocab_size, 1, limits.tokens)
  const maxContext = checked('max_position_embeddings', json.max_position_embeddings ?? 4096, 2, limits.context)
  // The cost of a prediction is computed from the reader's shapes.
  const widthKey = ['hidden_size', 'dim', 'd_model'].find((key) => (json[key] ?? undefined) !== undefined)
  const hidden = widthKey === undefined ? undefined : checked(widthKey, json[widthKey], 1, limits.width)
  const { model_type: kind = 'ONNX' } = json
  if (typeof kind !== 'string')
    throw new ForetokenError(
      'bad_model',
      `${files.name}/config.json: model_type is ${show(kind)}, not a name: take the config.json of the export`,
    )
  const shape = { ...(hidden !== undefined && { hidden }), architecture: kind }
  const config = { ...shape, ...reader?.archive.config, vocab, maxContext } as ModelArchive['config']
  const { spec, warnings } = await readTokenizer(files, json, config.vocab)
  const tokenless = tokenlessRows(tokenIdsOf(spec), config.vocab, files.name)
  const ends = endWarnings(spec, tokenless, files.name)
  return { name: files.name, config, tokenizer: spec, tokenless, warnings: [...warnings, ...ends] }
}
