/**
 * Makes a tiny random llama, mistral, qwen2 or qwen3 as a Hugging Face folder in memory, float32,
 * with 276 tokens.
 */
import { readFileSync } from 'node:fs'
import type { ModelFiles } from '../../src/base/bytes.ts'
import type { ModelConfig } from '../../src/base/model.ts'
import { memoryFiles } from '../../src/model/source.ts'
import { expectedTensors } from '../../src/model/weights.ts'
import { random } from './random.ts'
import { type F32Tensor, safetensors } from './safetensors-writer.ts'

type Values = Readonly<Record<string, unknown>>

export interface TinyFolder {
  readonly architecture?: 'llama' | 'mistral' | 'qwen2' | 'qwen3'
  readonly seed?: number
  /** Number of rows of the embedding. Default 276, as many as tokens. */
  readonly rows?: number
  /** Whether it has a separate output head, and says so. Default false. */
  readonly head?: boolean
  /** Entries to set in config.json, or to delete if undefined. */
  readonly config?: Values
  readonly tensors?: (tensors: Map<string, F32Tensor>) => void
  /** Modifies tokenizer.json. */
  readonly tokenizer?: (json: TokenizerJson) => unknown
  readonly settings?: Values
  /** Additional files. */
  readonly files?: Values
}

export interface TokenizerJson {
  added_tokens: { id: number; content: string; special: boolean }[]
  normalizer: unknown
  pre_tokenizer: unknown
  post_processor: unknown
  decoder: unknown
  model: { type: string; vocab: Record<string, number>; merges: unknown[] } & Record<string, unknown>
}

export const folderTokens = 276

/** Returns the contents of tokenizer.json; a copy each time. */
export function folderTokenizer(): TokenizerJson {
  return JSON.parse(readFileSync(new URL('../vectors/tiny-qwen2/tokenizer.json', import.meta.url), 'utf8'))
}

export function tinyFolder(options: TinyFolder = {}): ModelFiles {
  const { architecture = 'llama', rows = folderTokens, head = false, seed = 3 } = options
  const shape: ModelConfig = {
    architecture,
    layers: 2,
    hidden: 32,
    intermediate: 64,
    heads: 4,
    kvHeads: 2,
    headDim: 8,
    vocab: rows,
    maxContext: 256,
    rmsEps: 1e-6,
    ropeTheta: 10_000,
    ropePairs: 'half',
    tiedEmbedding: !head,
  }
  const rng = random(seed)
  const tensors = new Map<string, F32Tensor>()
  for (const { huggingFace, rows: n, cols } of expectedTensors(shape)) {
    const isNorm = /norm/.test(huggingFace)
    const data = rng.floats(n * cols).map((value) => (isNorm ? 1 + 0.2 * value : value / Math.sqrt(cols)))
    tensors.set(huggingFace, { shape: n === 1 ? [cols] : [n, cols], data })
  }
  options.tensors?.(tensors)
  const config = {
    model_type: architecture,
    num_hidden_layers: 2,
    hidden_size: 32,
    intermediate_size: 64,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 8,
    vocab_size: rows,
    max_position_embeddings: 256,
    rms_norm_eps: 1e-6,
    rope_theta: 10_000,
    hidden_act: 'silu',
    tie_word_embeddings: !head,
    eos_token_id: 2,
    ...options.config,
  }
  const settings = { bos_token: '<|endoftext|>', eos_token: '<|im_end|>', add_bos_token: false, ...options.settings }
  const tokenizer = folderTokenizer()
  const json = {
    'config.json': config,
    'tokenizer.json': options.tokenizer?.(tokenizer) ?? tokenizer,
    'tokenizer_config.json': settings,
    ...options.files,
  }
  const bytes = Object.entries(json).map(([name, value]) => [name, new TextEncoder().encode(JSON.stringify(value))])
  return memoryFiles('tiny-folder', { ...Object.fromEntries(bytes), 'model.safetensors': safetensors(tensors) })
}
