/**
 * The head of a GGUF file, versions 2 and 3, little-endian (ggml's docs/gguf.md): metadata and
 * tensor descriptions. Every count and length is checked against the file before anything is made
 * from it, and a list becomes objects only when it is asked for: a list that nobody needs costs
 * nothing.
 */

import type { ByteSource } from '../base/bytes.ts'
import { ForetokenError } from '../base/errors.ts'
import { GgufReader } from './gguf-reader.ts'
import { type GgufTensor, place, readTensor } from './gguf-tensors.ts'
import { type GgufValue, readValue } from './gguf-values.ts'
import { show } from './json.ts'
import { limits } from './limits.ts'

export interface Gguf {
  readonly metadata: ReadonlyMap<string, GgufValue>
  readonly tensors: readonly GgufTensor[]
}

/** "GGUF", and the same as a machine of the other byte order may write it. */
const magic = 0x46554747
const swappedMagic = 0x47475546

/**
 * Reads the head. Throws `bad_model` for a malformed file and `unsupported` for a byte order,
 * version or tensor type that we don't have.
 */
export async function readGguf(source: ByteSource): Promise<Gguf> {
  const reader = new GgufReader(source)
  if (source.size < 24) throw reader.bad('is not a GGUF file')
  await reader.need(24)
  readVersion(reader)
  const tensorCount = reader.count('tensors', limits.tensors, 24)
  const metadataCount = reader.count('metadata entries', limits.ggufEntries, 13)
  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < metadataCount; i++) {
    const key = await reader.string(limits.name)
    if (metadata.has(key)) throw reader.bad(`has the metadata key ${show(key)} twice`)
    await reader.need(4)
    metadata.set(key, await readValue(reader, reader.u32(), key))
  }
  const described: GgufTensor[] = []
  for (let i = 0; i < tensorCount; i++) described.push(await readTensor(reader))
  return { metadata, tensors: place(reader, described, metadata.get('general.alignment') ?? 32) }
}

function readVersion(reader: GgufReader): void {
  const { name } = reader.source
  const found = reader.u32()
  const version = reader.u32()
  const swapped = ((version & 0xff) << 24) | ((version & 0xff00) << 8) | ((version >>> 8) & 0xff00) | (version >>> 24)
  if (found === swappedMagic || (found === magic && swapped > 0 && swapped < 256 && version > 0xffff))
    throw new ForetokenError(
      'unsupported',
      `${name} is a big-endian GGUF, and little-endian ones are read; get that one, or convert it with gguf_convert_endian.py of llama.cpp`,
    )
  if (found !== magic) throw reader.bad('is not a GGUF file')
  if (version !== 2 && version !== 3)
    throw new ForetokenError('unsupported', `${name}: GGUF version ${version}; versions 2 and 3 are read`)
}
