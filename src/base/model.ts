/**
 * Types of a model: its shape, its recipe, its tensors and its tokenizer, in one form for all
 * files.
 */
import type { ByteSource } from './bytes.ts'

/**
 * Element type of a tensor in its file. The names are GGUF's in lower case; safetensors' F32, F16
 * and BF16 map to the same names.
 */
export type TensorType =
  | 'f32'
  | 'f16'
  | 'bf16'
  | 'q4_0'
  | 'q4_1'
  | 'q5_0'
  | 'q5_1'
  | 'q8_0'
  | 'q1_0'
  | 'q2_0'
  | 'q2_k'
  | 'q3_k'
  | 'q4_k'
  | 'q5_k'
  | 'q6_k'
  | 'iq4_nl'
  | 'iq4_xs'
  | 'mxfp4'
  | 'tq1_0'
  | 'tq2_0'

/** Elements per block and bytes per block of each tensor type (ggml's block formats). */
export const tensorBlocks: Readonly<Record<TensorType, { readonly elements: number; readonly bytes: number }>> = {
  f32: { elements: 1, bytes: 4 },
  f16: { elements: 1, bytes: 2 },
  bf16: { elements: 1, bytes: 2 },
  q4_0: { elements: 32, bytes: 18 },
  q4_1: { elements: 32, bytes: 20 },
  q5_0: { elements: 32, bytes: 22 },
  q5_1: { elements: 32, bytes: 24 },
  q8_0: { elements: 32, bytes: 34 },
  q1_0: { elements: 128, bytes: 18 },
  q2_0: { elements: 64, bytes: 18 },
  q2_k: { elements: 256, bytes: 84 },
  q3_k: { elements: 256, bytes: 110 },
  q4_k: { elements: 256, bytes: 144 },
  q5_k: { elements: 256, bytes: 176 },
  q6_k: { elements: 256, bytes: 210 },
  iq4_nl: { elements: 32, bytes: 18 },
  iq4_xs: { elements: 256, bytes: 136 },
  mxfp4: { elements: 32, bytes: 17 },
  tq1_0: { elements: 256, bytes: 54 },
  tq2_0: { elements: 256, bytes: 66 },
}

/** A tensor in a file: `rows` x `cols`, row-major, `cols` contiguous (a vector has one row). */
export interface TensorInfo {
  readonly name: string
  readonly type: TensorType
  readonly rows: number
  readonly cols: number
  /** Offset of its bytes in `source`. */
  readonly source: ByteSource
  readonly offset: number
  readonly bytes: number
  /**
   * Added to each value of a vector as it is loaded: 1 for norms that files store as the difference
   * from 1.
   */
  readonly plus?: number
  /**
   * Set for a vector that the file has as a matrix of this many columns, row by row: it is loaded
   * column by column.
   */
  readonly columns?: number
}

/** The numbers that may differ between layers. */
export interface LayerShape {
  /** Query heads: q is (heads * headDim, hidden). */
  readonly heads: number
  /** Heads of K and V: each is (kvHeads * headDim, hidden). A divisor of `heads`. */
  readonly kvHeads: number
  /** Width of the MLP: gate and up are (intermediate, hidden). */
  readonly intermediate: number
}

/**
 * The numbers that a model's files give, whatever form they have; what its layers compute with them
 * is a `ModelSpec`. Names follow Hugging Face's config.json, in camel case. Where layers differ,
 * the numbers of `LayerShape` are the largest of any layer, enough to make buffers for all.
 */
export interface ModelConfig extends LayerShape {
  /** Name of the model's family, a row of model/families/index.ts: `llama`, `qwen3`. */
  readonly architecture: string
  readonly layers: number
  readonly hidden: number
  readonly headDim: number
  readonly vocab: number
  /** The longest context the model was made for, in tokens. */
  readonly maxContext: number
  readonly rmsEps: number
  readonly ropeTheta: number
  /**
   * Which components of a head turn together, see `RopeSpec`. A llama GGUF has `adjacent` ones: its
   * wq and wk are permuted.
   */
  readonly ropePairs: RopeSpec['pairs']
  /**
   * Divisors of the frequencies, one for each pair that turns, from `rope_scaling` or GGUF's
   * `rope_freqs.weight`; absent if all are 1.
   */
  readonly ropeDivisors?: readonly number[]
  /** LongRoPE: what takes the place of `ropeDivisors` in long sequences; absent if none does. */
  readonly ropeLong?: LongRope
  /** True if the vocabulary projection is the embedding. */
  readonly tiedEmbedding: boolean
  /**
   * First row of the embedding that is in a tensor of its own, `embedTail`, which holds rarer
   * tokens in fewer bits. Absent if the embedding is one tensor.
   */
  readonly tailFrom?: number
  /**
   * Base of the frequencies of each layer, (layers), and 0 for a layer that does not rotate; absent
   * if all have `ropeTheta`. `ropeDivisors` hold for layers whose base is `ropeTheta`.
   */
  readonly ropeThetas?: readonly number[]
  /** Components of a head that turn, from the first on; absent if all do. */
  readonly ropeTurned?: number
  /** Factor of the components that turn; absent if it is 1. */
  readonly ropeAmplitude?: number
  /** Factor of the scores of attention; absent if it is 1 / sqrt(headDim). */
  readonly attentionScale?: number
  /** Soft caps of the scores of attention and of the logits, see `ModelSpec`; absent if there are none. */
  readonly attentionSoftCap?: number
  readonly logitSoftCap?: number
  /** Factors of embeddings, of what layers add, and of logits, see `ModelSpec`; absent if they are 1. */
  readonly embeddingScale?: number
  readonly residualScale?: number
  readonly logitScale?: number
  /**
   * RMS norm on each head of q and k before RoPE, in a family whose models may or may not have it.
   */
  readonly qkNorm?: boolean
  /**
   * Tokens that a query of each layer sees, itself included, (layers); 0 for all. Absent if all
   * layers see the whole context.
   */
  readonly windows?: readonly number[]
  /**
   * Taps of the short convolution that a layer has in place of attention, (layers), and 0 for a
   * layer with attention; absent if all have attention.
   */
  readonly convolutions?: readonly number[]
  /**
   * Widths of the dense layers, without activation, that make the vector of a text of its pooled
   * state, in order; absent if there are none.
   */
  readonly dense?: readonly number[]
  /** Shapes of the layers, (layers); absent if all are alike. */
  readonly perLayer?: readonly LayerShape[]
}

/** Divisors of the frequencies of long sequences (LongRoPE, arXiv 2402.13753). */
export interface LongRope {
  /** Tokens of the longest sequence that does without them. */
  readonly beyond: number
  /** Divisors of all tokens of a longer sequence, from the first on, (turned / 2). */
  readonly divisors: readonly number[]
}

/** A rotary position embedding. */
export interface RopeSpec {
  readonly headDim: number
  /** Components of a head that turn, from the first on: an even number. Default `headDim`. */
  readonly turned?: number
  /** Base of the frequencies: pair f turns by theta^(-2f / turned) radians a position. */
  readonly theta: number
  /**
   * Components i and i + turned / 2 are a pair if `half` (Hugging Face), 2i and 2i + 1 if
   * `adjacent` (llama in GGUF).
   */
  readonly pairs: 'half' | 'adjacent'
  /** Divisors of the frequencies, (turned / 2); absent if all are 1. */
  readonly divisors?: readonly number[]
  /** Divisors of segments that are `long`. Default `divisors`. */
  readonly long?: LongRope
  /** Factor of the components that turn. Default 1. */
  readonly amplitude?: number
}

/** How a layer's attention weighs keys. */
export interface AttentionSpec {
  /** Factor of the scores. */
  readonly scale: number
  /** Tokens that a query sees, itself included; absent if it sees all before it. */
  readonly window?: number
  /**
   * Whether a query also sees the tokens behind its own, as many as before it, so that a text has to
   * be read in one pass. Default false.
   */
  readonly bothWays?: boolean
  /** Scores s become cap * tanh(s / cap); absent if they stay as they are. */
  readonly softCap?: number
}

/**
 * A gated short convolution in place of attention (LFM2, arXiv 2511.23404): the input is projected
 * to b, c and x of the model's width, and c * convolution(b * x) is projected back. The
 * convolution is causal and has weights of its own for each channel.
 */
export interface ConvolutionSpec {
  /** Tokens that it sees, the own included. */
  readonly taps: number
}

/** The gate of an MLP: silu(x) = x * sigmoid(x), or gelu by its tanh approximation. */
export type Activation = 'silu' | 'gelu'

/** The recipe of a layer: what it computes, as data. A forward follows it and knows no family. */
export interface LayerSpec extends LayerShape {
  /**
   * RMS norms before (on the input) and after (on what is added to the residual stream) each half
   * of the layer.
   */
  readonly norms: {
    readonly beforeAttention: boolean
    readonly afterAttention: boolean
    readonly beforeMlp: boolean
    readonly afterMlp: boolean
  }
  /** RMS norm of q and k before RoPE: on each head (`heads`), or on all heads at once (`rows`). */
  readonly qkNorms: 'none' | 'heads' | 'rows'
  /** Whether these norms come after RoPE. Default false. */
  readonly qkNormsTurned?: boolean
  /** Biases of the projections to q, k and v, and of the one back. */
  readonly biases: { readonly qkv: boolean; readonly output: boolean }
  /** Absent for a layer without position embedding. */
  readonly rope?: RopeSpec
  readonly attention: AttentionSpec
  /**
   * Absent for a layer with attention. A layer with a convolution has no use for `attention`,
   * `rope`, `qkNorms` and `biases`; its `kvHeads` are those whose K and V have room for its inputs,
   * b * x.
   */
  readonly convolution?: ConvolutionSpec
  readonly activation: Activation
  /** Factor of what each half adds to the residual stream. */
  readonly residualScale: number
}

/** The recipe of a model: its layers, and what is before and behind them. */
export interface ModelSpec {
  /** Name of the family that made it; for messages. */
  readonly family: string
  readonly headDim: number
  readonly rmsEps: number
  readonly layers: readonly LayerSpec[]
  /** Factor of the embeddings as they enter the residual stream. */
  readonly embeddingScale: number
  /** Factor of the logits. */
  readonly logitScale: number
  /** Logits l become cap * tanh(l / cap); absent if they stay as they are. */
  readonly logitSoftCap?: number
}

/** A list of texts in one string. */
export interface PackedTexts {
  /** All texts, one after another. */
  readonly text: string
  /** End of each text in `text`, in UTF-16 units. */
  readonly ends: Uint32Array
}

/**
 * The texts of a vocabulary by token id, and a table to find them by; an id without a token has an
 * empty text.
 */
export interface PackedVocabulary extends PackedTexts {
  /**
   * For each place, the id + 1 of the text whose hash leads there, or 0. The length is a power of
   * two, at least twice the number of ids.
   */
  readonly slots: Uint32Array
  /** Further texts of ids that have several; absent if there are none. */
  readonly twins?: ReadonlyMap<string, number>
}

/**
 * The tokenizer in the form `@huggingface/tokenizers` takes, with what the chat template and the
 * stop conditions need.
 */
export interface TokenizerSpec {
  /** tokenizer.json, parsed. */
  readonly json: Record<string, unknown>
  /** The tokens of a BPE; then `json` has no vocabulary. */
  readonly vocabulary?: PackedVocabulary
  /**
   * Pairs of token ids that a BPE merges, (2 merges), the first merge first; then `json` has no
   * merges.
   */
  readonly mergeIds?: Uint32Array
  /** tokenizer_config.json, parsed (or made from a GGUF's metadata). */
  readonly config: Record<string, unknown>
  readonly chatTemplate: string | undefined
  readonly bosToken: string | undefined
  readonly eosToken: string | undefined
  /** Ids that end a turn. */
  readonly eosIds: readonly number[]
  /** Ids put before every text that is tokenised with special tokens. */
  readonly addBos: boolean
}

/** How the states of a text's tokens become one vector: the last, their mean, or the first. */
export const poolings = ['last', 'mean', 'cls'] as const

export type Pooling = (typeof poolings)[number]

/** How a model makes a vector of a text, as its files say. */
export interface EmbeddingSpec {
  /** Absent if no file says it: the model was not made for embeddings. */
  readonly pooling?: Pooling
  /** Whether vectors are scaled to length 1. */
  readonly normalize: boolean
  /** Texts that are put before what is embedded, by name: `query`, `document`. */
  readonly prompts: Readonly<Record<string, string>>
  /** Name of the prompt of a text whose kind is not said. */
  readonly defaultPrompt?: string
  /** Ids that the tokenizer puts behind a text. */
  readonly endIds: readonly number[]
  /** Whether the file says that the model ranks documents. */
  readonly ranks?: boolean
  /** Why the model's own way is not computed; absent if it is. */
  readonly refused?: string
}

/** A model file, opened and checked, before any weight is read. */
export interface ModelArchive {
  readonly name: string
  readonly config: ModelConfig
  /** Tensors by canonical name, see `expectedTensors` in model/weights.ts. */
  readonly tensors: ReadonlyMap<string, TensorInfo>
  readonly tokenizer: TokenizerSpec
  /** How it makes embeddings; absent where the files have no place for it. */
  readonly embedding?: EmbeddingSpec
  /**
   * Rows of the embedding without a token, ascending. They may be in a prompt, but are never drawn
   * or listed.
   */
  readonly tokenless: Uint32Array
  /**
   * Whole sentences for people, on what the files leave open or contradict and how it was resolved.
   */
  readonly warnings: readonly string[]
  /** The licence that a GGUF says it has, and its address if it says one: up to 200 characters. */
  readonly licence?: string
  /**
   * What became of the keys to ignore: those of the file without which it would be refused, and the
   * given names that are none of these, because the file has no such key or the key is not refused.
   * Absent if there were no keys to ignore.
   */
  readonly ignored?: { readonly refused: readonly string[]; readonly needless: readonly string[] }
  /**
   * sha256 (hex) of the config and of names, types and shapes of tensors. It identifies the model's
   * shape, not its weights.
   */
  readonly fingerprint: string
}
