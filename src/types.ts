/** Shared nouns. Data only: nothing here does work. */

/** A random-access run of bytes: a file, an HTTP range server, a Blob, an R2 object, a buffer. */
export interface ByteSource {
  /** For messages: a path or URL. */
  readonly name: string
  /** Total bytes. */
  readonly size: number
  /**
   * Fills `into` with the bytes at `offset`. Callers may pass a view of wasm memory; it is filled whole
   * or the promise rejects with a ForetokenError (`io`, `network`).
   */
  read(offset: number, into: Uint8Array): Promise<void>
}

/** One model as named files; `open` rejects with `not_found` for a name that is not there. */
export interface ModelFiles {
  readonly name: string
  /** File names, relative, such as `model.gguf` or `config.json`. */
  readonly files: readonly string[]
  open(file: string): Promise<ByteSource>
}

export interface Message {
  role: 'system' | 'user' | 'assistant' | 'tool'
  content: string
  /** Who speaks, of several with one role; what is made of it is up to the chat template. */
  name?: string
  /** What an assistant thought before it answered; up to the chat template as well. */
  reasoning_content?: string
}

/** A piece of a message, as OpenAI's API writes it. */
export interface TextPart {
  type: 'text'
  text: string
}

/** A message as a chat template may be given it: its content may be in parts, or null for an answer that has none. */
export type ChatMessage = Message | (Omit<Message, 'content'> & { content: readonly TextPart[] | null })

/** One user message (or with `raw` a text to continue), a conversation, or token ids as they are: also those of `Engine.prepare`. */
export type PromptInput = string | readonly ChatMessage[] | readonly number[]

/** A prompt's ids, made by `Engine.prepare`, for any number of requests to the same engine. */
export interface PreparedPrompt extends ReadonlyArray<number> {
  readonly times: PromptTimes
}

/** When a prompt was accepted, templated (if it was) and tokenized, in milliseconds as `performance.now()` tells them. */
export interface PromptTimes {
  readonly accepted: number
  readonly templated?: number
  readonly tokenized: number
}

/** How a KV page stores K and V. */
export type KvType = 'f32' | 'f16' | 'int8'

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

/** Tokens per KV page. */
export const pageTokens = 16

/** Pages of K and V for all layers of one model. Page ids are whole numbers from 0 that the pool chooses; they need not be neighbours. */
export interface KvPool {
  readonly type: KvType
  readonly layers: number
  /** The largest of any layer. */
  readonly kvHeads: number
  readonly headDim: number
  /** Bytes of one page, all layers. */
  readonly pageBytes: number
  /** Pages that exist now. */
  readonly pages: number
  /**
   * Makes up to `pages` more, at least one, and returns their ids: fewer only if memory holds no more. Throws `out_of_memory` if it
   * holds none; nothing has changed then.
   */
  add(pages: number): number[]
  /** Gives the memory of some pages back. Nobody may use them any more; their ids may come again. */
  remove(pages: readonly number[]): void
  /** A copy of a page's raw bytes, for saving and for the wire. */
  readPage(page: number): Promise<Uint8Array>
  writePage(page: number, bytes: Uint8Array): void
}

/** How values of K and V become bytes of the wire; kv/wire.ts tells each format. */
export const wireCodecs = ['f32', 'f16', 'int8', 'int4', 'residual'] as const
export type WireCodec = (typeof wireCodecs)[number]

/** Some layers of some tokens of a sequence. */
export interface KvBlock {
  /** Layers `from`..`to` - 1. */
  readonly layers: { readonly from: number; readonly to: number }
  /** Positions `from`..`to` - 1; `from` begins a page. */
  readonly from: number
  readonly to: number
  /** Page ids of the sequence, from position 0 on. */
  readonly pages: readonly number[]
}

/** A codec, and what `residual` needs beside the bytes. */
export interface KvCoding {
  readonly codec: WireCodec
  /** Pages that hold the prediction, from position 0 on: of `residual`, for encoding. */
  readonly base?: readonly number[]
  /** Quantiser's steps of the block's layers: of `residual`, (layers, kvHeads, headDim + 1), see kv/residual.ts. */
  readonly steps?: Float32Array
}

/** Turns blocks of pages into bytes of the wire and back. */
export interface KvCodec {
  /** Bytes of `tokens` tokens of some layers; of `residual`, the most that they can take. */
  kvBytes(pool: KvPool, layers: KvBlock['layers'], tokens: number, codec: WireCodec): number
  /** The bytes of a block, an array of their own. Waits for all work before it. */
  encodeKv(pool: KvPool, block: KvBlock, coding: KvCoding): Promise<Uint8Array<ArrayBuffer>>
  /**
   * Writes a block's bytes into its pages; `residual` adds them to what the pages hold. Nothing outside the block changes. Throws
   * `bad_kv` for bytes that are no such block: of another length, or not decodable.
   */
  decodeKv(pool: KvPool, block: KvBlock, coding: KvCoding, bytes: Uint8Array): Promise<void>
}

/** States of the residual stream that a sequence keeps until its cache is exact: (tokens, hidden), by position. */
export interface SequenceStates {
  /** Position of the first state kept; those before are exact in the cache. */
  readonly first: number
  /** Position behind the last. */
  readonly end: number
  /** No position from here on is predicted. */
  readonly until: number
  /** Whether states are kept, to be refined, or only counted. */
  readonly kept: boolean
  /** Appends states of `count` positions from `end` on; `values` are asked for if they are kept. */
  append(count: number, values: () => Promise<Float32Array>): Promise<void>
  /** States of positions `from`..`to` - 1. */
  slice(from: number, to: number): Float32Array
  /** Called once, when the sequence no longer needs its states. */
  onRelease?: () => void
  /** What the positions before a chunk left for it at each later source of a prediction: (taps, hidden), the last last. */
  readonly tails: Map<number, Float32Array>
}

/** One sequence's run of tokens in a pass, attending to its own past and to itself. */
export interface Segment {
  /** First row of this segment on the flat token axis. */
  readonly start: number
  /** Tokens of this segment in this pass. */
  readonly length: number
  /** Tokens already in its pages; positions of this pass begin here. */
  readonly past: number
  /** Position of the first token for RoPE, where tokens before it were left out of the cache. Default `past`. */
  readonly position?: number
  /** Page ids that hold tokens 0..past+length-1, in order. */
  readonly pages: readonly number[]
  /** Of a sequence whose cache is not exact yet. */
  readonly states?: SequenceStates | undefined
}

/** One pass: tokens of one or many sequences on one flat axis. */
export interface Pass {
  /** (tokens) */
  readonly ids: readonly number[]
  /** In order; together they cover the axis. First those that are predicted, then exact ones, then those that are refined. */
  readonly segments: readonly Segment[]
  /** How many segments, in front, get predicted K and V above the shared layers. Default 0. */
  readonly predicted?: number
  /** How many segments, at the end, begin with kept states instead of tokens, and replace what was predicted. Default 0. */
  readonly refined?: number
  /** Rows whose logits are wanted: usually the last row of each segment that ends its prompt. */
  readonly outputs: readonly number[]
}
