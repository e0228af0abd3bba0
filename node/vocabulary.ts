/**
 * Cuts the vocabulary matrix in two parts: the rows of frequent tokens stay as they are, the others
 * are quantised to 4 bits. The ids of a byte-pair encoding are in the order in which its merges
 * were found, the most frequent first.
 */

import { createWasmBackend } from '../src/backend/wasm/backend.ts'
import { defined } from '../src/base/at.ts'
import {
  ForetokenError,
  isWhole,
  type ModelArchive,
  memorySource,
  type TensorInfo,
  type WasmModules,
} from '../src/index.ts'
import { quantizeQ4 } from '../src/model/four-bits.ts'
import { rowsOf } from '../src/model/weights.ts'

/** Number of rows that are turned into f32 at once. */
const batch = 512

/**
 * Returns the shapes of the model with its tail in 4 bits, for a memory plan; no bytes. Throws
 * `bad_argument`, `unsupported`.
 */
export function plannedTail(
  { name, config, tensors }: ModelArchive,
  from: number | undefined,
): Pick<ModelArchive, 'config' | 'tensors'> {
  if (from === undefined) return { config, tensors }
  const { vocab, tiedEmbedding, hidden } = config
  if (!tiedEmbedding || config.tailFrom !== undefined || hidden % 32 !== 0)
    throw new ForetokenError(
      'unsupported',
      `${name}: only a vocabulary matrix that is tied to the embedding, in rows of whole blocks of 32, can be quantised to 4 bits`,
    )
  if (!isWhole(from, 8, vocab - 1) || from % 8 !== 0)
    throw new ForetokenError(
      'bad_argument',
      `${from} rows of the vocabulary stay; the number must be a multiple of 8 below ${vocab}`,
    )
  const embed = defined(tensors.get('embed'))
  const tail: TensorInfo = { ...rowsOf(embed, from, vocab - from), type: 'q4_1' }
  const rest = [...tensors].filter(([name]) => name !== 'embed')
  return {
    config: { ...config, tailFrom: from },
    tensors: new Map([['embed', rowsOf(embed, 0, from)], ['embedTail', tail], ...rest]),
  }
}

/** Returns the model with its tail in 4 bits. Throws `bad_argument`, `unsupported`. */
export async function withTailInFourBits(
  archive: ModelArchive,
  from: number,
  wasm: WasmModules,
): Promise<ModelArchive> {
  const planned = plannedTail(archive, from)
  const { vocab } = archive.config
  const bytes = await quantized(rowsOf(defined(archive.tensors.get('embed')), from, vocab - from), wasm)
  const tail: TensorInfo = {
    ...defined(planned.tensors.get('embedTail')),
    source: memorySource('embedTail', bytes),
    offset: 0,
    bytes: bytes.length,
  }
  return { ...archive, ...planned, tensors: new Map([...planned.tensors, ['embedTail', tail]]) }
}

/** Quantises a tensor of any type to Q4_1; the core turns its rows into f32. */
async function quantized(tensor: TensorInfo, wasm: WasmModules): Promise<Uint8Array> {
  const { name, type, rows, cols, source, offset, bytes } = tensor
  const backend = await createWasmBackend({ modules: wasm })
  try {
    const writer = backend.weight({ name, type, n: rows, k: cols })
    for (let at = 0; at < bytes; ) {
      const into = writer.reserve(bytes - at)
      await source.read(offset + at, into)
      writer.commit(into.length)
      at += into.length
    }
    const weight = writer.finish()
    const out = backend.tensor(batch, cols)
    const parts: Uint8Array[] = []
    for (let row = 0; row < rows; row += batch) {
      const count = Math.min(batch, rows - row)
      backend.embed(
        out,
        weight,
        Array.from({ length: count }, (_, index) => row + index),
      )
      parts.push(quantizeQ4(await backend.read(out, count)))
    }
    const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
    let at = 0
    for (const part of parts) {
      all.set(part, at)
      at += part.length
    }
    return all
  } finally {
    await backend.close()
  }
}
