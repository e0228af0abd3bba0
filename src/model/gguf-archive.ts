/** A GGUF file as a `ModelArchive`. */
import { ForetokenError } from '../errors.ts'
import type { ByteSource, ModelArchive, ModelConfig, TensorInfo } from '../types.ts'
import { architectureOf, checkConfig } from './config.ts'
import { fingerprint } from './fingerprint.ts'
import { type Gguf, readGguf } from './gguf.ts'
import { tokenizerOfGguf } from './gguf-tokenizer.ts'
import { MetadataReader } from './metadata.ts'
import { nameTensors } from './weights.ts'

export async function openGguf(name: string, source: ByteSource): Promise<ModelArchive> {
  const gguf = await readGguf(source)
  const metadata = new MetadataReader(gguf.metadata, source.name)
  if ((metadata.optionalNumber('split.count') ?? 1) > 1)
    throw new ForetokenError(
      'unsupported',
      `${source.name} is one part of a split GGUF; merge the parts into one file first`,
    )
  const found = new Map(gguf.tensors.map((tensor) => [tensor.name, matrix(tensor, source)]))
  const config = checkConfig(await configOf(gguf, metadata, found), source.name)
  const tensors = nameTensors(config, found, 'gguf', source.name, (tensor) => tensor === 'rope_freqs.weight')
  const tokenizer = tokenizerOfGguf(metadata)
  return { name, config, tensors, tokenizer, fingerprint: await fingerprint(config, tensors) }
}

async function configOf(
  gguf: Gguf,
  metadata: MetadataReader,
  found: ReadonlyMap<string, TensorInfo>,
): Promise<ModelConfig> {
  const architecture = architectureOf(metadata.text('general.architecture'), 'GGUF', metadata.where)
  const number = (key: string) => metadata.number(`${architecture}.${key}`)
  const optional = (key: string) => metadata.optionalNumber(`${architecture}.${key}`)
  const scaling = gguf.metadata.get(`${architecture}.rope.scaling.type`)
  if (scaling !== undefined && scaling !== 'none' && scaling !== 'linear')
    throw new ForetokenError(
      'unsupported',
      `${metadata.where}: RoPE scaling ${JSON.stringify(scaling)}; none, linear and llama3 are run`,
    )
  const heads = number('attention.head_count')
  const hidden = number('embedding_length')
  const headDim = optional('attention.key_length') ?? hidden / heads
  const values = optional('attention.value_length') ?? headDim
  const turned = optional('rope.dimension_count') ?? headDim
  if (values !== headDim || turned !== headDim)
    throw new ForetokenError(
      'unsupported',
      `${metadata.where}: heads of ${headDim} with values of ${values} and RoPE over ${turned}`,
    )
  const frequencies = found.get('rope_freqs.weight')
  const linear = scaling === 'linear' ? optional('rope.scaling.factor') : undefined
  const divisors = frequencies
    ? await readFloats(frequencies)
    : linear !== undefined
      ? new Array<number>(headDim / 2).fill(linear)
      : undefined
  return {
    architecture,
    layers: number('block_count'),
    hidden,
    intermediate: number('feed_forward_length'),
    heads,
    kvHeads: optional('attention.head_count_kv') ?? heads,
    headDim,
    vocab: found.get('token_embd.weight')?.rows ?? number('vocab_size'),
    maxContext: number('context_length'),
    rmsEps: number('attention.layer_norm_rms_epsilon'),
    ropeTheta: optional('rope.freq_base') ?? 10_000,
    ropePairs: architecture === 'llama' ? 'adjacent' : 'half',
    ...(divisors && { ropeDivisors: divisors }),
    tiedEmbedding: !found.has('output.weight'),
  }
}

function matrix(tensor: Gguf['tensors'][number], source: ByteSource): TensorInfo {
  const { name, type, dims, offset, bytes } = tensor
  const [cols = 1, rows = 1, ...rest] = dims
  if (rest.some((dim) => dim !== 1))
    throw new ForetokenError(
      'unsupported',
      `${source.name}: tensor ${name} has ${dims.length} dimensions, ${dims.join(' x ')}`,
    )
  return { name, type, rows, cols, source, offset, bytes }
}

async function readFloats(tensor: TensorInfo): Promise<number[]> {
  if (tensor.type !== 'f32' || tensor.cols > 256)
    throw new ForetokenError('bad_model', `${tensor.name} is ${tensor.cols} x ${tensor.type}; expected at most 256 f32`)
  const bytes = new Uint8Array(tensor.bytes)
  await tensor.source.read(tensor.offset, bytes)
  const view = new DataView(bytes.buffer)
  return Array.from({ length: tensor.cols }, (_, i) => view.getFloat32(i * 4, true))
}
