/** Byte sources that need no platform. */

import type { ByteSource, ModelFiles } from '../base/bytes.ts'
import { bytesOf, functionOf, textOf, wrong } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import { isWhole } from '../base/numbers.ts'

/** Returns a source of bytes in memory. */
export function memorySource(name: string, contents: Uint8Array): ByteSource {
  const bytes = bytesOf('bytes', contents)
  return {
    name,
    size: bytes.length,
    async read(offset, into) {
      bytesOf('into', into)
      if (!(offset >= 0) || offset + into.length > bytes.length)
        throw new ForetokenError(
          'io',
          `${name}: bytes ${offset}..${offset + into.length} of ${bytes.length} were asked for`,
        )
      into.set(bytes.subarray(offset, offset + into.length))
    },
  }
}

/**
 * Checks a caller's source. Throws `bad_argument` for anything else; errors of the source itself
 * pass through.
 */
export function checkedSource(file: string, source: ByteSource): ByteSource {
  if (typeof source !== 'object' || source === null) throw wrong(`the source of ${file}`, 'a ByteSource', source)
  functionOf(`the read of ${file}`, source.read)
  textOf(`the name of ${file}`, source.name)
  if (!isWhole(source.size)) throw wrong(`the size of ${file}`, 'a number of bytes', source.size)
  return source
}

/** Returns a model as a set of named buffers. */
export function memoryFiles(name: string, files: Readonly<Record<string, Uint8Array>>): ModelFiles {
  return {
    name,
    files: Object.keys(files),
    async open(file) {
      const bytes = Object.hasOwn(files, file) ? files[file] : undefined
      if (!bytes) throw new ForetokenError('not_found', `${name} has no file ${file}`)
      return memorySource(`${name}/${file}`, bytes)
    },
  }
}

/** Reads a small file as text. Throws `bad_model` above `limit` bytes, and for invalid UTF-8. */
export async function readText(source: ByteSource, limit: number): Promise<string> {
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
