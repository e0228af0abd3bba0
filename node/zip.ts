/** Reads one entry of a zip file as a stream. Supports what wheels need, without zip64. */
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { createInflateRaw } from 'node:zlib'
import { ForetokenError } from '../src/index.ts'

/**
 * Returns the bytes of `entry`. Throws `bad_model` if the file is not a zip, `not_found` if the
 * entry is missing.
 */
export async function zipEntry(path: string, entry: string): Promise<Readable> {
  const file = await open(path)
  try {
    const { size } = await file.stat()
    const tail = Buffer.alloc(Math.min(size, 65_557))
    await file.read(tail, 0, tail.length, size - tail.length)
    const end = tail.lastIndexOf('PK\x05\x06', undefined, 'latin1')
    if (end < 0 || end + 22 > tail.length) throw bad(path)
    const [length, start] = [tail.readUInt32LE(end + 12), tail.readUInt32LE(end + 16)]
    if (length > 1 << 26 || start + length > size) throw bad(path)
    const directory = Buffer.alloc(length)
    await file.read(directory, 0, length, start)
    const found = findEntry(directory, entry)
    if (!found) throw new ForetokenError('not_found', `${path} has no ${entry}`)
    const header = Buffer.alloc(30)
    await file.read(header, 0, 30, found.offset)
    if (header.readUInt32LE(0) !== 0x04034b50) throw bad(path)
    const from = found.offset + 30 + header.readUInt16LE(26) + header.readUInt16LE(28)
    if (from + found.packed > size || (found.method !== 0 && found.method !== 8)) throw bad(path)
    if (found.packed === 0) return Readable.from([])
    const raw = createReadStream(path, { start: from, end: from + found.packed - 1, highWaterMark: 1 << 18 })
    if (found.method === 0) return raw
    const inflate = createInflateRaw({ chunkSize: 1 << 18 })
    raw.on('error', (error) => inflate.destroy(error))
    return raw.pipe(inflate)
  } finally {
    await file.close()
  }
}

function findEntry(directory: Buffer, entry: string) {
  for (let at = 0; at + 46 <= directory.length && directory.readUInt32LE(at) === 0x02014b50; ) {
    const nameLength = directory.readUInt16LE(at + 28)
    if (directory.toString('utf8', at + 46, at + 46 + nameLength) === entry)
      return {
        method: directory.readUInt16LE(at + 10),
        packed: directory.readUInt32LE(at + 20),
        offset: directory.readUInt32LE(at + 42),
      }
    at += 46 + nameLength + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32)
  }
  return undefined
}

function bad(path: string): ForetokenError {
  return new ForetokenError('bad_model', `${path} is not an intact zip file; remove it and run the command again`)
}
