/**
 * Reads the head of a safetensors file (huggingface/safetensors, README "Format"): 8 bytes of
 * length, then JSON.
 */

import { defined } from '../base/at.ts'
import type { ByteSource } from '../base/bytes.ts'
import { ForetokenError } from '../base/errors.ts'
import { type TensorInfo, type TensorType, tensorBlocks } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import { type Json, readJsonAt, show } from './json.ts'
import { jsonBounds, limits } from './limits.ts'

const types: Readonly<Record<string, TensorType>> = { F32: 'f32', F16: 'f16', BF16: 'bf16' }

/**
 * Reads the tensors of a file. Throws `bad_model` for a malformed file, `unsupported` for an
 * unknown dtype or rank.
 */
export async function readSafetensors(source: ByteSource): Promise<TensorInfo[]> {
  const { json, data } = await readSafetensorsHead(source)
  const tensors: TensorInfo[] = []
  for (const [name, value] of Object.entries(json)) {
    if (name === '__metadata__') continue
    if (tensors.length === limits.tensors)
      throw new ForetokenError('bad_model', `${source.name} has more than ${limits.tensors} tensors`)
    tensors.push(tensorOf(source, name, value, data))
  }
  const ordered = [...tensors].sort((a, b) => a.offset - b.offset)
  ordered.forEach((tensor, i) => {
    const before = ordered[i - 1]
    if (before && before.offset + before.bytes > tensor.offset)
      throw new ForetokenError(
        'bad_model',
        `${source.name} tensors ${show(before.name)} and ${show(tensor.name)} overlap`,
      )
  })
  return tensors
}

/**
 * Reads the JSON head, and returns it with the offset of the tensors' bytes. Throws `bad_model`.
 */
export async function readSafetensorsHead(source: ByteSource): Promise<{ json: Json; data: number }> {
  const bad = (what: string) => new ForetokenError('bad_model', `${source.name} ${what}`)
  if (source.size < 8) throw bad(`has ${source.size} bytes: it is not a safetensors file`)
  const prefix = new Uint8Array(8)
  await source.read(0, prefix)
  const length = Number(new DataView(prefix.buffer).getBigUint64(0, true))
  const { bytes: most } = jsonBounds.safetensorsHead
  if (length > most || 8 + length > source.size)
    throw bad(`says its head has ${length} bytes; the file has ${source.size}, and ${most} is the limit`)
  return { json: await readJsonAt(source, 8, length, jsonBounds.safetensorsHead), data: 8 + length }
}

function tensorOf(source: ByteSource, name: string, value: unknown, data: number): TensorInfo {
  const where = `${source.name}: tensor ${show(name)}`
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as Record<string, unknown>
  if (!isCounts(shape) || !isCounts(offsets) || offsets.length !== 2)
    throw new ForetokenError('bad_model', `${where} has no valid shape and data_offsets`)
  const type = typeof dtype === 'string' && Object.hasOwn(types, dtype) ? types[dtype] : undefined
  if (!type) throw new ForetokenError('unsupported', `${where} is ${show(dtype)}; F32, F16 and BF16 are read`)
  // Weights of a convolution by channel are (channels, 1, taps).
  const dims = shape.length === 3 && shape[1] === 1 ? [shape[0], shape[2]] : shape
  if (dims.length !== 1 && dims.length !== 2)
    throw new ForetokenError(
      'unsupported',
      `${where} has ${shape.length} dimensions, ${shape.join(' x ')}; 1 and 2 are read`,
    )
  const [rows, cols] = dims.length === 1 ? [1, defined(dims[0])] : [defined(dims[0]), defined(dims[1])]
  const [begin, end] = offsets as [number, number]
  const bytes = rows * cols * tensorBlocks[type].bytes
  if (!isWhole(bytes, 1) || end - begin !== bytes || data + end > source.size)
    throw new ForetokenError(
      'bad_model',
      `${where} of ${shape.join(' x ')} ${type} takes ${bytes} bytes, but lies at ${begin}..${end} of ${source.size - data}`,
    )
  return { name, type, rows, cols, source, offset: data + begin, bytes }
}

function isCounts(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => isWhole(item))
}
