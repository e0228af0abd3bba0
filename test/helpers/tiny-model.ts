/**
 * Makes a tiny random model as a GGUF in memory, so that engine tests need no download. Its text is
 * noise, but its numbers are real.
 */

import type { ModelFiles } from '../../src/base/bytes.ts'
import type { ModelConfig, TensorType } from '../../src/base/model.ts'
import { memoryFiles } from '../../src/model/source.ts'
import { expectedTensors } from '../../src/model/weights.ts'
import { randomBlocks } from './blocks.ts'
import { type Metadata, type WrittenTensor, writeGguf } from './gguf-writer.ts'
import { random } from './random.ts'

export interface TinyOptions {
  readonly architecture?: ModelConfig['architecture']
  /** Type of the matrices. Default f32. */
  readonly type?: TensorType
  readonly seed?: number
  /** Number of layers. Default 2. */
  readonly layers?: number
  /** Size of the hidden states. Default 256. */
  readonly hidden?: number
  readonly context?: number
  /** Entries to set in the metadata, or to delete if undefined. */
  readonly metadata?: Readonly<Record<string, Metadata | undefined>>
  readonly tensors?: (tensors: WrittenTensor[]) => WrittenTensor[]
}

const special = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']

/** Number of tokens: one for each byte, and three special ones. */
export const tinyVocab = 256 + special.length

export function tinyGguf(options: TinyOptions = {}): Uint8Array {
  const { architecture = 'llama', type = 'f32', seed = 1, context = 256, layers = 2, hidden = 256 } = options
  const config: ModelConfig = {
    architecture,
    layers,
    hidden,
    intermediate: 512,
    heads: 4,
    kvHeads: 2,
    headDim: 64,
    vocab: tinyVocab,
    maxContext: context,
    rmsEps: 1e-5,
    ropeTheta: 10_000,
    ropePairs: 'half',
    tiedEmbedding: true,
  }
  const tensors = randomTensors(config, type, seed)
  const metadata: Record<string, Metadata | undefined> = {
    'general.architecture': { text: architecture },
    [`${architecture}.block_count`]: { u32: config.layers },
    [`${architecture}.context_length`]: { u32: context },
    [`${architecture}.embedding_length`]: { u32: config.hidden },
    [`${architecture}.feed_forward_length`]: { u32: config.intermediate },
    [`${architecture}.attention.head_count`]: { u32: config.heads },
    [`${architecture}.attention.head_count_kv`]: { u32: config.kvHeads },
    [`${architecture}.attention.layer_norm_rms_epsilon`]: { f32: config.rmsEps },
    ...(hidden !== 256 && { [`${architecture}.attention.key_length`]: { u32: 64 } }),
    ...(hidden !== 256 && { [`${architecture}.attention.value_length`]: { u32: 64 } }),
    ...tokenizer(),
    ...options.metadata,
  }
  const kept = Object.entries(metadata).filter((entry): entry is [string, Metadata] => entry[1] !== undefined)
  return writeGguf(Object.fromEntries(kept), options.tensors ? options.tensors([...tensors]) : tensors)
}

const made = new Map<string, readonly WrittenTensor[]>()

/** Cached for each kind: tests open the same weights repeatedly. */
function randomTensors(config: ModelConfig, type: TensorType, seed: number): readonly WrittenTensor[] {
  const key = JSON.stringify([config, type, seed])
  const before = made.get(key)
  if (before) return before
  const rng = random(seed)
  const tensors = expectedTensors(config).map(({ name, gguf, rows, cols }): WrittenTensor => {
    if (rows === 1) {
      const offset = name.endsWith('Bias') ? 0 : 1
      const values = rng.floats(cols).map((value) => offset + value * 0.1)
      return { name: gguf, type: 'f32', dims: [cols], bytes: new Uint8Array(values.buffer) }
    }
    if (type === 'f32') {
      const values = rng.floats(rows * cols).map((value) => value * 0.05)
      return { name: gguf, type, dims: [cols, rows], bytes: new Uint8Array(values.buffer) }
    }
    return { name: gguf, type, dims: [cols, rows], bytes: randomBlocks(type, rows * cols, rng) }
  })
  made.set(key, tensors)
  return tensors
}

export function tinyFiles(options: TinyOptions = {}): ModelFiles {
  return memoryFiles('tiny', { 'tiny.gguf': tinyGguf(options) })
}

/**
 * Returns GPT-2's letters for bytes, in byte order; putting printable ones first would work as
 * well.
 */
function tokenizer(): Record<string, Metadata> {
  const letters: string[] = []
  for (let byte = 0, next = 0x100; byte < 256; byte++) {
    const prints = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
    letters.push(String.fromCodePoint(prints ? byte : next++))
  }
  return {
    'tokenizer.ggml.model': { text: 'gpt2' },
    'tokenizer.ggml.pre': { text: 'gpt-2' },
    'tokenizer.ggml.tokens': { texts: [...letters, ...special] },
    'tokenizer.ggml.token_type': { ints: [...letters.map(() => 1), ...special.map(() => 3)] },
    'tokenizer.ggml.merges': { texts: [] },
    'tokenizer.ggml.eos_token_id': { u32: 256 },
    'tokenizer.chat_template': {
      text:
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n'}}" +
        "{% endfor %}{% if add_generation_prompt %}{{'<|im_start|>assistant\n'}}{% endif %}",
    },
  }
}
