/** What a model is: its shape, its tensors and its tokenizer, whatever file it came from. */
import type { ByteSource } from './bytes.ts'

/**
 * A tensor's element type as its file has it. The names are GGUF's, lower case; safetensors' F32, F16 and BF16
 * map onto the same names.
 */
export type TensorType = 'f32' | 'f16' | 'bf16' | 'q4_0' | 'q4_1' | 'q5_0' | 'q5_1' | 'q8_0' | 'q4_k' | 'q5_k' | 'q6_k'

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
  q4_k: { elements: 256, bytes: 144 },
  q5_k: { elements: 256, bytes: 176 },
  q6_k: { elements: 256, bytes: 210 },
}

/** A tensor in a file: `rows` x `cols`, row-major, `cols` contiguous (a vector has one row). */
export interface TensorInfo {
  readonly name: string
  readonly type: TensorType
  readonly rows: number
  readonly cols: number
  /** Where its bytes begin in `source`. */
  readonly source: ByteSource
  readonly offset: number
  readonly bytes: number
}

/** What may differ from layer to layer. */
export interface LayerShape {
  /** Query heads: q is (heads * headDim, hidden). */
  readonly heads: number
  /** Heads of K and V: each is (kvHeads * headDim, hidden). A divisor of `heads`. */
  readonly kvHeads: number
  /** Width of the MLP: gate and up are (intermediate, hidden). */
  readonly intermediate: number
}

/**
 * What a model is, whatever file it came from. Names follow Hugging Face's config.json, in camel case. Where layers differ, the
 * numbers of `LayerShape` are the largest of any layer, enough to make buffers for all; `layerShapes` in model/config.ts tells each.
 */
export interface ModelConfig extends LayerShape {
  readonly architecture: 'llama' | 'qwen2' | 'qwen3' | 'openelm'
  readonly layers: number
  readonly hidden: number
  readonly headDim: number
  readonly vocab: number
  /** The longest context the model was made for, in tokens. */
  readonly maxContext: number
  readonly rmsEps: number
  readonly ropeTheta: number
  /** Pairs (i, i + headDim/2) if 'half' (Hugging Face), (2i, 2i + 1) if 'adjacent' (llama GGUF, whose wq and wk are permuted). */
  readonly ropePairs: 'half' | 'adjacent'
  /** One divisor per frequency, headDim/2 of them, from `rope_scaling` (llama3, linear) or GGUF's `rope_freqs.weight`; absent = all ones. */
  readonly ropeDivisors?: readonly number[]
  /** The vocabulary projection is the embedding. */
  readonly tiedEmbedding: boolean
  /** The embedding's rows from this one on are a tensor of their own, `embedTail`: rarer tokens in fewer bits. Absent where it is whole. */
  readonly tailFrom?: number
  /** RMS norm on each head of q and k before RoPE, in an architecture that may have it or not: OpenELM. Qwen3 always does. */
  readonly qkNorm?: boolean
  /** One for each layer, (layers); absent where all are alike. */
  readonly perLayer?: readonly LayerShape[]
}

/** A list of texts in one string. */
export interface PackedTexts {
  /** All texts, one behind the other. */
  readonly text: string
  /** Where each text ends in `text`, in UTF-16 units. */
  readonly ends: Uint32Array
}

/** The texts of a vocabulary by token id, and a table to find them by; an id without a token has an empty text. */
export interface PackedVocabulary extends PackedTexts {
  /** Id + 1 of the text whose hash leads there, 0 for a free place; the length is a power of two, at least twice the number of ids. */
  readonly slots: Uint32Array
  /** Further texts of ids that have one; absent where there are none. */
  readonly twins?: ReadonlyMap<string, number>
}

/** The tokenizer in the form `@huggingface/tokenizers` takes, with what the chat template and the stop conditions need. */
export interface TokenizerSpec {
  /** tokenizer.json, parsed. */
  readonly json: Record<string, unknown>
  /** The tokens of a BPE; then `json` has no vocabulary. */
  readonly vocabulary?: PackedVocabulary
  /** Pairs of token ids that a BPE merges, (2 merges), the first merge first; then `json` has no merges. */
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

/** A model file, opened and checked, before any weight is read. */
export interface ModelArchive {
  readonly name: string
  readonly config: ModelConfig
  /** By canonical name, see `weightNames` in model/weights.ts. */
  readonly tensors: ReadonlyMap<string, TensorInfo>
  readonly tokenizer: TokenizerSpec
  /** Rows of the embedding that no token has, ascending: they may be in a prompt, but are never drawn or listed. */
  readonly tokenless: Uint32Array
  /** What the files leave open or contradict, with what was made of it, for people: whole sentences. */
  readonly warnings: readonly string[]
  /** sha256 (hex) over config, tensor names, types and shapes: which model this is, not which bytes. */
  readonly fingerprint: string
}
