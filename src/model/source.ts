/** Byte sources that need no platform. */
import { ForetokenError } from '../errors.ts'
import type { ByteSource, ModelFiles } from '../types.ts'

/** Bytes in memory. */
export function memorySource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    size: bytes.length,
    async read(offset, into) {
      if (!(offset >= 0) || offset + into.length > bytes.length)
        throw new ForetokenError(
          'io',
          `${name}: bytes ${offset}..${offset + into.length} of ${bytes.length} were asked for`,
        )
      into.set(bytes.subarray(offset, offset + into.length))
    },
  }
}

/** A model as a set of named buffers. */
export function memoryFiles(name: string, files: Readonly<Record<string, Uint8Array>>): ModelFiles {
  return {
    name,
    files: Object.keys(files),
    async open(file) {
      const bytes = files[file]
      if (!bytes) throw new ForetokenError('not_found', `${name} has no file ${file}`)
      return memorySource(`${name}/${file}`, bytes)
    },
  }
}

/** All of a small file as text. Throws `bad_model` above `limit` bytes, and for invalid UTF-8. */
export async function readText(source: ByteSource, limit = 64 << 20): Promise<string> {
  if (source.size > limit)
    throw new ForetokenError('bad_model', `${source.name}: ${source.size} bytes; at most ${limit} are read as text`)
  const bytes = new Uint8Array(source.size)
  await source.read(0, bytes)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new ForetokenError('bad_model', `${source.name} is not valid UTF-8`, { cause })
  }
}

/** A small JSON file whose top is an object. Throws `bad_model`. */
export async function readJson(source: ByteSource): Promise<Record<string, unknown>> {
  return parseJson(await readText(source), source.name)
}

export function parseJson(text: string, name: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new ForetokenError('bad_model', `${name} is not valid JSON: ${(cause as Error).message}`, { cause })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new ForetokenError('bad_model', `${name} is not a JSON object`)
  return value as Record<string, unknown>
}
