/** Reads the values of a GGUF's metadata. Lists are skipped, and read on demand. */
import type { PackedTexts } from '../base/model.ts'
import { type GgufReader, scalarBytes } from './gguf-reader.ts'
import { show } from './json.ts'
import { limits } from './limits.ts'

/** A list in the metadata, read on demand. */
export interface GgufList {
  readonly count: number
  /**
   * Returns its texts; undefined if it holds something else. Throws `bad_model` for a text above
   * `limit` bytes, and for texts longer than the limit in all.
   */
  texts(limit: number): Promise<PackedTexts | undefined>
  /** Returns its numbers; undefined if it holds something else. */
  numbers(): Promise<ArrayLike<number> | undefined>
}

/** A value of the metadata. */
export type GgufValue = number | boolean | string | GgufList
const maxDepth = 4
const [textType, listType] = [8, 9]

/** Reads the value of `key`, of a type of ggml. Throws `bad_model`. */
export async function readValue(reader: GgufReader, type: number, key: string): Promise<GgufValue> {
  if (type === textType) return reader.string(limits.ggufText)
  if (type === listType) return readList(reader, key)
  const bytes = scalarBytes[type]
  if (bytes === undefined) throw reader.bad(`has ${show(key)} of the unknown type ${type}`)
  await reader.need(bytes)
  return reader.scalar(type, key)
}

/** Skips a list and records its place. */
async function readList(reader: GgufReader, key: string): Promise<GgufList> {
  await reader.need(12)
  const type = reader.u32()
  const count = reader.count(`elements of ${show(key)}`, limits.ggufHead, leastBytes(type))
  const at = reader.at
  await skipElements(reader, type, count, key, 0)
  const bytes = reader.at - at
  const again = async <T>(read: () => Promise<T>): Promise<T> => {
    const end = reader.at
    reader.at = at
    try {
      return await read()
    } finally {
      reader.at = end
    }
  }
  return {
    count,
    async texts(limit) {
      if (type !== textType) return undefined
      if (bytes - 8 * count > limits.tokenText)
        throw reader.bad(`has ${bytes - 8 * count} bytes of text in ${show(key)}; at most ${limits.tokenText} are read`)
      return again(() => reader.texts(count, limit, bytes - 8 * count))
    },
    async numbers() {
      if (type === 7 || scalarBytes[type] === undefined) return undefined
      return again(async () => {
        await reader.need(bytes)
        return reader.numbers(type, count, key)
      })
    },
  }
}

async function skipElements(
  reader: GgufReader,
  type: number,
  count: number,
  key: string,
  depth: number,
): Promise<void> {
  const bytes = scalarBytes[type]
  if (bytes !== undefined) return reader.skip(bytes * count)
  if (type !== textType && type !== listType) throw reader.bad(`has ${show(key)} of the unknown type ${type}`)
  if (type === listType && depth + 1 >= maxDepth)
    throw reader.bad(`has arrays nested more than ${maxDepth} deep in ${show(key)}`)
  reader.countElements(count)
  for (let left = type === textType ? reader.skipTexts(count) : count; left > 0; left--) {
    if (!reader.has(12)) await reader.need(type === textType ? 8 : 12)
    if (type === textType) {
      reader.skip(reader.u64('bytes of a text'))
      left = reader.skipTexts(left - 1) + 1
    } else {
      const inner = reader.u32()
      await skipElements(
        reader,
        inner,
        reader.count(`elements of ${show(key)}`, limits.ggufHead, leastBytes(inner)),
        key,
        depth + 1,
      )
    }
  }
}

function leastBytes(type: number): number {
  return type === textType ? 8 : type === listType ? 12 : 1
}
