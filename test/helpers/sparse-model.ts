/**
 * Makes a model file of any size that uses almost no memory: all bytes after its head read as
 * zeros.
 */
import type { ByteSource, ModelFiles } from '../../src/base/bytes.ts'
import type { TensorType } from '../../src/base/model.ts'
import { tensorBytes } from './gguf-writer.ts'
import { type TinyOptions, tinyGguf } from './tiny-model.ts'

export interface SparseModel {
  readonly files: ModelFiles
  /** Number of bytes of each read after the written part. */
  readonly read: number[]
}

/**
 * Returns a tiny model whose tensor `name` is zero and of another size; `dims` as in GGUF, the
 * contiguous one first.
 */
export function sparseModel(
  name: string,
  type: TensorType,
  dims: readonly [number, number],
  options: TinyOptions = {},
): SparseModel {
  const written = tinyGguf({
    ...options,
    // The tensor comes last, so that its bytes may be left out.
    tensors: (tensors) => [
      ...tensors.filter((tensor) => tensor.name !== name),
      { name, type, dims, bytes: new Uint8Array(0) },
    ],
  })
  const read: number[] = []
  const source: ByteSource = {
    name: 'sparse.gguf',
    size: written.length + tensorBytes(type, dims),
    async read(offset, into) {
      into.fill(0)
      if (offset < written.length) into.set(written.subarray(offset, offset + into.length))
      else read.push(into.length)
    },
  }
  return { files: { name: 'sparse', files: ['sparse.gguf'], open: async () => source }, read }
}
