/**
 * Writes a model of a known shape with random weights, as a GGUF in Q4_0:
 *
 *     node bench/large/write.ts llama3.2-1b FILE [--seed 1]
 *
 * Its answers are noise; its size, its tokenizer and its times are those of the model.
 */
import { open } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { defined } from '../../src/base/at.ts'
import type { TensorType } from '../../src/base/model.ts'
import { expectedTensors } from '../../src/model/weights.ts'
import { randomBlocks } from '../../test/helpers/blocks.ts'
import { ggufHead, type ListedTensor, type Metadata, tensorBytes } from '../../test/helpers/gguf-writer.ts'
import { random } from '../../test/helpers/random.ts'
import { type LargeModel, largeModels } from './shapes.ts'
import { madeUpTokenizer } from './vocabulary.ts'

/** Elements of random weights of each type; longer tensors repeat them. */
const pooled = 1 << 22

/** Writes the model. Resolves with the bytes of the file. */
export async function writeLargeModel(path: string, model: LargeModel, seed = 1): Promise<number> {
  const tensors = tensorsOf(model)
  const head = ggufHead({ ...metadataOf(model), ...madeUpTokenizer(model, seed) }, tensors)
  const file = await open(path, 'w')
  let at = 0
  const write = async (bytes: Uint8Array) => {
    await file.writeFile(bytes)
    at += bytes.length
  }
  try {
    await write(head)
    const pool = poolOf(seed)
    for (const { type, length } of tensors) {
      const bytes = pool(type)
      for (let left = length; left > 0; left -= bytes.length) await write(bytes.subarray(0, left))
      await write(new Uint8Array((32 - (at % 32)) % 32))
    }
    return at
  } finally {
    await file.close()
  }
}

function tensorsOf({ config, ropeFactors }: LargeModel): ListedTensor[] {
  const listed = expectedTensors(config).map(({ name, gguf, rows, cols }): ListedTensor => {
    const type = rows === 1 ? 'f32' : name === 'embed' ? 'q6_k' : 'q4_0'
    const dims = rows === 1 ? [cols] : [cols, rows]
    return { name: gguf, type, dims, length: tensorBytes(type, dims) }
  })
  const factors = [config.headDim / 2]
  if (ropeFactors)
    listed.push({ name: 'rope_freqs.weight', type: 'f32', dims: factors, length: tensorBytes('f32', factors) })
  return listed
}

function metadataOf({ config }: LargeModel): Record<string, Metadata> {
  const { architecture, layers, maxContext, hidden, intermediate, heads, kvHeads, headDim, rmsEps, ropeTheta } = config
  const values: Record<string, Metadata> = {
    block_count: { u32: layers },
    context_length: { u32: maxContext },
    embedding_length: { u32: hidden },
    feed_forward_length: { u32: intermediate },
    'attention.head_count': { u32: heads },
    'attention.head_count_kv': { u32: kvHeads },
    'attention.key_length': { u32: headDim },
    'attention.value_length': { u32: headDim },
    'attention.layer_norm_rms_epsilon': { f32: rmsEps },
    'rope.freq_base': { f32: ropeTheta },
    'rope.dimension_count': { u32: headDim },
  }
  const named = Object.entries(values).map(([key, value]) => [`${architecture}.${key}`, value] as const)
  return { 'general.architecture': { text: architecture }, ...Object.fromEntries(named) }
}

/** Returns a function that gives random weights of a type; of norms, which are f32, ones. */
function poolOf(seed: number): (type: TensorType) => Uint8Array {
  const rng = random(seed)
  const made = new Map<TensorType, Uint8Array>()
  return (type) => {
    const ones = () => new Uint8Array(new Float32Array(1 << 16).fill(1).buffer)
    const bytes = made.get(type) ?? (type === 'f32' ? ones() : randomBlocks(type, pooled, rng))
    made.set(type, bytes)
    return bytes
  }
}

if (import.meta.main) {
  const options = { seed: { type: 'string', default: '1' } } as const
  const { values, positionals } = parseArgs({ allowPositionals: true, options })
  const [name = '', path] = positionals
  if (!Object.hasOwn(largeModels, name) || path === undefined) {
    console.error(`write.ts takes a model and a file; models are ${Object.keys(largeModels).join(', ')}`)
    process.exit(2)
  }
  const bytes = await writeLargeModel(path, defined(largeModels[name]), Number(values.seed))
  console.log(`${path}  ${bytes} bytes`)
}
