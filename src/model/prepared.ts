/**
 * Reads files of the format `foretoken weights`, version 1: a model in one file that is read from
 * front to back, with the tensors in the order in which they are loaded. Numbers are little-endian.
 *
 *     0   8 bytes  "fTkWght1"
 *     8   u32      bytes of the head
 *     12  u32      merges of the tokenizer, 0 for one that is not a BPE
 *     16  head     JSON: {config, tokenizer, embedding, tokens, tensors}
 *         merges   pairs of u32 token ids, the first merge first; from the next multiple of 64 on
 *         tensors  rows in ggml's blocks, each from the next multiple of 64 on; the last one ends the file
 *
 * `tokens` are the texts of the vocabulary by id, null where an id has none; `tokenizer` is a
 * `TokenizerSpec` without them and without merges; `tensors` are `[canonical name, type]` in order,
 * whose shapes follow from `config`, with what is added to the values of a vector as a third entry
 * where the family adds something. The file therefore has no offsets that could be wrong, and its
 * head takes little memory: 49,000 merges as JSON would take 10 MB.
 */

import type { ByteSource } from '../base/bytes.ts'
import { ForetokenError } from '../base/errors.ts'
import {
  type ModelArchive,
  type ModelConfig,
  type TensorInfo,
  type TensorType,
  type TokenizerSpec,
  tensorBlocks,
} from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import { configOfJson } from './config.ts'
import { embeddingOfJson } from './embedding-spec.ts'
import { familyNames } from './families/index.ts'
import { fingerprint } from './fingerprint.ts'
import { isObject, readJsonAt, show } from './json.ts'
import { jsonBounds, limits } from './limits.ts'
import { packTexts } from './packed-texts.ts'
import { tokenlessRows } from './tokenless.ts'
import { packVocabulary } from './vocabulary.ts'
import { expectedTensors, flattened } from './weights.ts'

export const preparedEnding = '.foretoken'
export const preparedMagic = 'fTkWght1'
export const preamble = 16
const alignment = 64

/** Returns the offset of the next part: the next multiple of 64. */
export function aligned(at: number): number {
  return Math.ceil(at / alignment) * alignment
}

/** Opens a prepared file. Throws `bad_model` for one that is malformed or cut off. */
export async function openPrepared(name: string, source: ByteSource): Promise<ModelArchive> {
  const bad = (what: string) =>
    new ForetokenError('bad_model', `${source.name} ${what}; write it again with deploy-prep`)
  if (source.size < preamble) throw bad(`has ${source.size} bytes: it is not a file of foretoken weights`)
  const first = new Uint8Array(preamble)
  await source.read(0, first)
  if (new TextDecoder().decode(first.subarray(0, 8)) !== preparedMagic)
    throw bad('is not a file of foretoken weights, or has another version')
  const view = new DataView(first.buffer)
  const [headBytes, merges] = [view.getUint32(8, true), view.getUint32(12, true)]
  const mergesAt = aligned(preamble + headBytes)
  const dataAt = aligned(mergesAt + merges * 8)
  if (headBytes > jsonBounds.preparedHead.bytes || merges > limits.merges || dataAt > source.size)
    throw bad(
      `says that it has a head of ${headBytes} bytes and ${merges} merges; it has ${source.size} bytes, ` +
        `and ${jsonBounds.preparedHead.bytes} and ${limits.merges} are the limits`,
    )
  const head = await readJsonAt(source, preamble, headBytes, jsonBounds.preparedHead)
  const config = configOfJson(head.config, familyNames, source.name, 'write it again with deploy-prep')
  const tensors = place(head.tensors, config, { source, dataAt, bad })
  const { tokens } = head
  if (!Array.isArray(tokens) || !tokens.every((token) => token === null || typeof token === 'string'))
    throw bad('has no list of tokens')
  const mergeIds = new Uint32Array(merges * 2)
  await source.read(mergesAt, new Uint8Array(mergeIds.buffer))
  const tokenizer = tokenizerOf(head.tokenizer, tokens, mergeIds, bad)
  if (tokenizer.eosIds.some((id) => id >= config.vocab))
    throw bad(`ends answers with token ${tokenizer.eosIds.find((id) => id >= config.vocab)}, and has ${config.vocab}`)
  const tokenless = tokenlessRows(idsOf(tokens, tokenizer), config.vocab, source.name)
  const embedding = head.embedding === undefined ? undefined : embeddingOfJson(head.embedding, config.vocab)
  if (head.embedding !== undefined && !embedding) throw bad('has an invalid description of embeddings')
  const described = { name, config, tensors, tokenizer, ...(embedding && { embedding }), tokenless }
  return { ...described, warnings: [], fingerprint: await fingerprint(config, tensors) }
}

interface Place {
  readonly source: ByteSource
  readonly dataAt: number
  readonly bad: (what: string) => ForetokenError
}

/** Returns the tensors, which are contiguous: all that the config needs, each once. */
function place(listed: unknown, config: ModelConfig, { source, dataAt, bad }: Place): Map<string, TensorInfo> {
  const expected = new Map(expectedTensors(config).map((tensor) => [tensor.name, tensor]))
  if (!Array.isArray(listed) || listed.length !== expected.size)
    throw bad(`lists ${Array.isArray(listed) ? listed.length : 'no'} tensors; its config asks for ${expected.size}`)
  const tensors = new Map<string, TensorInfo>()
  let end = dataAt
  for (const entry of listed as unknown[]) {
    const [name, type, added] = (Array.isArray(entry) ? entry : []) as [string, TensorType, unknown]
    const shape = expected.get(name)
    if (!shape || tensors.has(name) || typeof type !== 'string' || !Object.hasOwn(tensorBlocks, type))
      throw bad(`lists an unknown or repeated tensor: ${show(name)} of type ${show(type)}`)
    const { rows, cols, plus } = shape
    const block = tensorBlocks[type]
    const bytes = (rows * cols * block.bytes) / block.elements
    if (cols % block.elements !== 0) throw bad(`has ${name} with rows of ${cols}, no multiple of ${block.elements}`)
    const offset = aligned(end)
    if (added !== undefined && added !== plus && added !== 0)
      throw bad(`adds ${show(added)} to ${name}, and its family ${plus ?? 'nothing'}`)
    const adds = plus !== undefined && added !== 0
    const tensor = { name, type, rows, cols, source, offset, bytes, ...(adds && { plus }) }
    tensors.set(name, flattened(tensor, shape))
    end = offset + bytes
  }
  if (end !== source.size) throw bad(`has ${source.size} bytes; its tensors end at ${end}`)
  return tensors
}

function tokenizerOf(
  tokenizer: unknown,
  tokens: readonly (string | null)[],
  mergeIds: Uint32Array,
  bad: (what: string) => ForetokenError,
): TokenizerSpec {
  const spec = (isObject(tokenizer) ? tokenizer : {}) as Partial<Record<keyof TokenizerSpec, unknown>>
  const isText = (value: unknown) => value === undefined || typeof value === 'string'
  const { json, config } = spec
  const sound =
    isObject(json) &&
    isObject(json.model) &&
    isObject(config) &&
    [spec.chatTemplate, spec.bosToken, spec.eosToken].every(isText) &&
    Array.isArray(spec.eosIds) &&
    spec.eosIds.every((id) => isWhole(id)) &&
    typeof spec.addBos === 'boolean'
  if (!sound) throw bad('has an invalid tokenizer')
  if (mergeIds.some((id) => id >= tokens.length)) throw bad(`merges a token beyond its ${tokens.length}`)
  return {
    json,
    vocabulary: packVocabulary(packTexts(tokens)),
    mergeIds,
    config,
    chatTemplate: spec.chatTemplate as string | undefined,
    bosToken: spec.bosToken as string | undefined,
    eosToken: spec.eosToken as string | undefined,
    eosIds: spec.eosIds as number[],
    addBos: spec.addBos as boolean,
  }
}

function* idsOf(tokens: readonly (string | null)[], { json }: TokenizerSpec): Generator<unknown> {
  for (let id = 0; id < tokens.length; id++) if (tokens[id] !== null) yield id
  if (Array.isArray(json.added_tokens)) for (const entry of json.added_tokens) if (isObject(entry)) yield entry.id
}
