/** Checks that the file of an ONNX graph is whole, without reading the graph. */
import type { ByteSource, ModelFiles } from '../base/bytes.ts'
import { ForetokenError } from '../base/errors.ts'
import { onnxFile } from './folder.ts'

/** Fields of a file before its last; a usual file has ten. */
const mostFields = 10_000
/** Bytes that hold the head of a field: a tag and a length. */
const headBytes = 20

/**
 * Walks the fields of the file, which is a message of protobuf: each says its length. Throws `bad_model`
 * for a file that is another, or that ends inside of a field.
 */
export async function requireWhole(files: ModelFiles): Promise<void> {
  const file = onnxFile(files)
  const source = await files.open(file)
  const name = `${files.name}/${file}`
  const { size } = source
  for (let [at, fields] = [0, 0]; at < size; fields++) {
    const field = await fieldAt(source, at)
    if (!field || fields > mostFields)
      throw new ForetokenError(
        'bad_model',
        `${name} is not a whole ONNX model: byte ${at} begins no field; get it again`,
      )
    if (field.end > size)
      throw new ForetokenError(
        'bad_model',
        `${name} needs bytes ${at}..${field.end} of a file of ${size}; the file may be cut off: get it again`,
      )
    at = field.end
  }
  if (size === 0) throw new ForetokenError('bad_model', `${name} is an empty file; get it again`)
}

/** Returns where a field ends; undefined for bytes that are none. */
async function fieldAt(source: ByteSource, at: number): Promise<{ readonly end: number } | undefined> {
  const head = new Uint8Array(Math.min(headBytes, source.size - at))
  await source.read(at, head)
  const tag = varint(head, 0)
  if (!tag || tag.value < 8) return undefined
  const value = at + tag.end
  switch (tag.value % 8) {
    case 0: {
      const number = varint(head, tag.end)
      return number && { end: at + number.end }
    }
    case 1:
      return { end: value + 8 }
    case 2: {
      const length = varint(head, tag.end)
      return length && { end: at + length.end + length.value }
    }
    case 5:
      return { end: value + 4 }
    default:
      return undefined
  }
}

/** Reads a number of 7 bits a byte. It is not exact beyond 2^53, which no file is as long as. */
function varint(bytes: Uint8Array, at: number): { readonly value: number; readonly end: number } | undefined {
  for (let [value, place, index] = [0, 1, at]; index < bytes.length && index < at + 10; index++) {
    const byte = bytes[index] ?? 0
    value += (byte % 128) * place
    place *= 128
    if (byte < 128) return { value, end: index + 1 }
  }
  return undefined
}
