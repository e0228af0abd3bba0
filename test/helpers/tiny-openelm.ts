/** Makes a tiny random OpenELM as a Hugging Face folder in memory, float32. */
import { readFileSync } from 'node:fs'
import type { ModelFiles } from '../../src/base/bytes.ts'
import { memoryFiles } from '../../src/model/source.ts'
import { random } from './random.ts'
import { type F32Tensor, safetensors } from './safetensors-writer.ts'

export interface OpenElmShape {
  readonly hidden: number
  readonly headDim: number
  /** Number of heads of each layer. */
  readonly heads: readonly number[]
  readonly kvHeads: readonly number[]
  /** MLP widths of the layers, multiples of 32. */
  readonly widths: readonly number[]
  readonly normed: boolean
  readonly tied: boolean
}

export const tinyShape: OpenElmShape = {
  hidden: 64,
  headDim: 16,
  heads: [2, 4, 4],
  kvHeads: [1, 2, 2],
  widths: [32, 96, 160],
  normed: true,
  tied: true,
}

export interface TinyOpenElm {
  readonly shape: OpenElmShape
  readonly tensors: Map<string, F32Tensor>
  /** The contents of config.json. */
  readonly config: Readonly<Record<string, unknown>>
  readonly files: ModelFiles
}

interface Changes {
  readonly seed?: number
  /** Entries to set in config.json, or to delete if undefined. */
  readonly config?: Readonly<Record<string, unknown>>
  /** Modifies the tensors, to make them invalid. */
  readonly tensors?: (tensors: Map<string, F32Tensor>) => void
  readonly without?: string
}

const tokenizer = readFileSync(new URL('../vectors/tiny-openelm/tokenizer.json', import.meta.url))

/** Number of tokens of that tokenizer. */
const vocab = 276

export function tinyOpenElm(change: Partial<OpenElmShape> = {}, wrong: Changes = {}): TinyOpenElm {
  const shape = { ...tinyShape, ...change }
  const { hidden, headDim, heads, kvHeads, widths } = shape
  const rng = random(wrong.seed ?? 5)
  const tensors = new Map<string, F32Tensor>()
  const matrix = (name: string, rows: number, cols: number) => {
    const data = rng.floats(rows * cols).map((value) => (value * 1.2) / Math.sqrt(cols))
    tensors.set(`${name}.weight`, { shape: [rows, cols], data })
  }
  const norm = (name: string, size: number) => {
    tensors.set(`${name}.weight`, { shape: [size], data: rng.floats(size).map((value) => 1 + 0.2 * value) })
  }
  matrix('transformer.token_embeddings', vocab, hidden)
  heads.forEach((count, layer) => {
    const at = `transformer.layers.${layer}`
    norm(`${at}.attn_norm`, hidden)
    matrix(`${at}.attn.qkv_proj`, (count + 2 * kvHeads[layer]!) * headDim, hidden)
    if (shape.normed) {
      norm(`${at}.attn.q_norm`, headDim)
      norm(`${at}.attn.k_norm`, headDim)
    }
    matrix(`${at}.attn.out_proj`, hidden, count * headDim)
    norm(`${at}.ffn_norm`, hidden)
    matrix(`${at}.ffn.proj_1`, 2 * widths[layer]!, hidden)
    matrix(`${at}.ffn.proj_2`, hidden, widths[layer]!)
  })
  norm('transformer.norm', hidden)
  if (!shape.tied) matrix('lm_head', vocab, hidden)
  wrong.tensors?.(tensors)
  const config = {
    model_type: 'openelm',
    num_transformer_layers: heads.length,
    model_dim: hidden,
    head_dim: headDim,
    num_query_heads: heads,
    num_kv_heads: kvHeads,
    ffn_multipliers: widths.map((width) => width / hidden),
    ffn_dim_divisor: 32,
    ffn_with_glu: true,
    activation_fn_name: 'swish',
    normalization_layer_name: 'rms_norm',
    normalize_qk_projections: shape.normed,
    share_input_output_layers: shape.tied,
    rope_freq_constant: 10_000,
    rope_max_length: 512,
    max_context_length: 256,
    vocab_size: vocab,
    eos_token_id: 2,
    ...wrong.config,
  }
  const all: Record<string, Uint8Array> = {
    'config.json': new TextEncoder().encode(JSON.stringify(config)),
    'model.safetensors': safetensors(tensors),
    'tokenizer.json': tokenizer,
  }
  if (wrong.without) delete all[wrong.without]
  return { shape, tensors, config, files: memoryFiles('tiny-openelm', all) }
}
