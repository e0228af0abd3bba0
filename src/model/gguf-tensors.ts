/** Reads the tensor descriptions of a GGUF, and checks that the tensors lie in the file, apart. */

import { defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import { type TensorType, tensorBlocks } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import type { GgufReader } from './gguf-reader.ts'
import type { GgufValue } from './gguf-values.ts'
import { show } from './json.ts'
import { limits } from './limits.ts'

/** A tensor of a file, as its head describes it. */
export interface GgufTensor {
  readonly name: string
  readonly type: TensorType
  /** Elements of each dimension, the contiguous one first. */
  readonly dims: readonly number[]
  /** From the start of the file. */
  readonly offset: number
  readonly bytes: number
}

/** ggml's numbers of the tensor types that we read. */
const typeNumbers: Readonly<Record<number, TensorType>> = {
  0: 'f32',
  1: 'f16',
  2: 'q4_0',
  3: 'q4_1',
  6: 'q5_0',
  7: 'q5_1',
  8: 'q8_0',
  10: 'q2_k',
  11: 'q3_k',
  12: 'q4_k',
  13: 'q5_k',
  14: 'q6_k',
  20: 'iq4_nl',
  23: 'iq4_xs',
  30: 'bf16',
  34: 'tq1_0',
  35: 'tq2_0',
  39: 'mxfp4',
  41: 'q1_0',
  42: 'q2_0',
}

/** Names of the other types that ggml has or had, for messages. */
const unreadTypes: Readonly<Record<number, string>> = {
  4: 'q4_2',
  5: 'q4_3',
  9: 'q8_1',
  15: 'q8_k',
  16: 'iq2_xxs',
  17: 'iq2_xs',
  18: 'iq3_xxs',
  19: 'iq1_s',
  21: 'iq3_s',
  22: 'iq2_s',
  24: 'i8',
  25: 'i16',
  26: 'i32',
  27: 'i64',
  28: 'f64',
  29: 'iq1_m',
  31: 'q4_0_4_4',
  32: 'q4_0_4_8',
  33: 'q4_0_8_8',
  36: 'iq4_nl_4_4',
  37: 'iq4_nl_4_8',
  38: 'iq4_nl_8_8',
  40: 'nvfp4',
}

/**
 * Reads one description; its offset counts from the start of the data. Throws `bad_model`, and
 * `unsupported` for a type that is not read.
 */
export async function readTensor(reader: GgufReader): Promise<GgufTensor> {
  const { source } = reader
  const name = await reader.string(limits.name)
  await reader.need(4)
  const rank = reader.u32()
  if (rank < 1 || rank > 4) throw reader.bad(`tensor ${show(name)} has ${rank} dimensions`)
  await reader.need(rank * 8 + 12)
  const dims = Array.from({ length: rank }, () => reader.u64(`a dimension of ${show(name)}`))
  const number = reader.u32()
  const offset = reader.u64(`the offset of ${show(name)}`)
  const type = typeNumbers[number]
  if (!type)
    throw new ForetokenError(
      'unsupported',
      `${source.name}: tensor ${show(name)} is in ${unreadTypes[number] ?? `ggml's type ${number}, which is not known`}; ` +
        `${Object.values(typeNumbers).join(', ')} are read: use a file of the model in one of these, such as Q4_K_M or Q8_0`,
    )
  const block = tensorBlocks[type]
  const elements = dims.reduce((product, dim) => product * dim, 1)
  const bytes = (elements / block.elements) * block.bytes
  if (!isWhole(elements, 1) || defined(dims[0]) % block.elements !== 0 || bytes > source.size)
    throw reader.bad(`tensor ${show(name)} of ${dims.join(' x ')} ${type} does not fit in ${source.size} bytes`)
  return { name, type, dims, offset, bytes }
}

/**
 * Turns offsets within the data into offsets in the file, and checks that the tensors lie in it,
 * apart.
 */
export function place(reader: GgufReader, described: readonly GgufTensor[], alignment: GgufValue): GgufTensor[] {
  if (typeof alignment !== 'number' || !(alignment >= 8 && alignment <= 1 << 20) || alignment % 8 !== 0)
    throw reader.bad(`has an alignment of ${show(alignment)}`)
  const data = Math.ceil(reader.at / alignment) * alignment
  const names = new Set<string>()
  const tensors = described.map((tensor) => {
    if (names.has(tensor.name)) throw reader.bad(`has the tensor ${show(tensor.name)} twice`)
    names.add(tensor.name)
    if (tensor.offset % alignment !== 0)
      throw reader.bad(`tensor ${show(tensor.name)} begins at ${tensor.offset}, which is not aligned to ${alignment}`)
    const offset = data + tensor.offset
    if (!isWhole(offset, 0, reader.source.size - tensor.bytes))
      throw reader.bad(
        `tensor ${show(tensor.name)} needs bytes ${offset}..${offset + tensor.bytes} of a file of ${reader.source.size}; ` +
          'the file may be cut off: get it again',
      )
    return { ...tensor, offset }
  })
  const ordered = [...tensors].sort((a, b) => a.offset - b.offset)
  ordered.forEach((tensor, i) => {
    const before = ordered[i - 1]
    if (before && before.offset + before.bytes > tensor.offset)
      throw reader.bad(`tensors ${show(before.name)} and ${show(tensor.name)} overlap`)
  })
  return tensors
}
