/** Writes a model as one file of `foretoken weights`; `prepared.ts` describes the format. */
import { ForetokenError } from '../base/errors.ts'
import type { ModelArchive } from '../base/model.ts'
import { isObject, type Json } from './json.ts'
import { textAt } from './packed-texts.ts'
import { aligned, preamble, preparedMagic } from './prepared.ts'
import { packedVocabularyOf } from './tokenizer-json.ts'
import { expectedTensors } from './weights.ts'

export interface PreparedFile {
  readonly bytes: number
  /** Yields the file from front to back. A piece is valid until the next is requested. */
  pieces(): AsyncGenerator<Uint8Array>
}

const pieceBytes = 1 << 20

/**
 * Prepares a model as a file. `merges` are the tokenizer's as ids, (2 merges); undefined for a
 * tokenizer that is not a BPE. Throws `unsupported` for other tokenizers.
 */
export function preparedFile(archive: ModelArchive, merges: Uint32Array | undefined): PreparedFile {
  const tensors = [...archive.tensors].map(([name, { type, source, offset, bytes, plus }]) => ({
    name,
    type,
    source,
    offset,
    bytes,
    plus,
  }))
  // A family that adds to what folders hold adds nothing to what a GGUF holds.
  const adding = new Set(expectedTensors(archive.config).flatMap(({ name, plus }) => (plus === undefined ? [] : name)))
  const list = tensors.map(({ name, type, plus }) => [name, type, ...(adding.has(name) ? [plus ?? 0] : [])])
  const head = new TextEncoder().encode(JSON.stringify({ ...headOf(archive, merges), tensors: list }))
  const pairs = merges ?? new Uint32Array(0)
  const mergesAt = aligned(preamble + head.length)
  const dataAt = aligned(mergesAt + pairs.byteLength)
  const bytes = tensors.reduce((end, tensor) => aligned(end) + tensor.bytes, dataAt)

  async function* pieces(): AsyncGenerator<Uint8Array> {
    const front = new Uint8Array(dataAt)
    front.set(new TextEncoder().encode(preparedMagic))
    new DataView(front.buffer).setUint32(8, head.length, true)
    new DataView(front.buffer).setUint32(12, pairs.length / 2, true)
    front.set(head, preamble)
    front.set(new Uint8Array(pairs.buffer, pairs.byteOffset, pairs.byteLength), mergesAt)
    yield front
    let end = dataAt
    for (const { source, offset, bytes } of tensors) {
      if (aligned(end) > end) yield new Uint8Array(aligned(end) - end)
      end = aligned(end) + bytes
      for (let at = 0; at < bytes; at += pieceBytes) {
        const piece = new Uint8Array(Math.min(pieceBytes, bytes - at))
        await source.read(offset + at, piece)
        yield piece
      }
    }
  }
  return { bytes, pieces }
}

function headOf({ config, tokenizer, embedding, name }: ModelArchive, merges: Uint32Array | undefined) {
  const { mergeIds, vocabulary, json, ...rest } = tokenizer
  const { vocab, merges: _, ...model } = (json.model ?? {}) as { vocab?: unknown; merges?: unknown }
  if (!merges || !(vocabulary || isObject(vocab)))
    throw new ForetokenError(
      'unsupported',
      `${name}: only tokenizers of byte-pair encoding, whose merges are of tokens, can be prepared`,
    )
  const packed = vocabulary ?? packedVocabularyOf(vocab as Json)
  const tokens = Array.from(packed.ends, (_, id) => textAt(packed, id) || null)
  return { config, tokenizer: { ...rest, json: { ...json, model } }, ...(embedding && { embedding }), tokens }
}
