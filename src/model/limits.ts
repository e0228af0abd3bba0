/**
 * Limits on what a model's files may hold. Each is at least four times the largest that we know of
 * in a published model of any family, so that only a hostile or damaged file meets it. All are
 * checked before the memory is spent.
 */
import type { JsonBounds } from './json-scan.ts'

const KiB = 1 << 10
const MiB = 1 << 20

export const limits = {
  /** Tokens of a context. Llama 4 Scout has 10,485,760. */
  context: 1 << 26,
  /** Width of the hidden states. Llama 3.1 405B has 16,384. */
  width: 1 << 16,
  /** Tokens, and rows of the embedding. Gemma 3 has 262,144. */
  tokens: 1 << 20,
  /** Merges of a BPE. Gemma 3 has 514,906. */
  merges: 1 << 21,
  /** Added tokens. Gemma 3 has 6,414. */
  addedTokens: 1 << 15,
  /** Characters of one added token. Published ones stay below 64. */
  addedToken: 256,
  /** Characters of all added tokens: each becomes an object of a trie. Gemma 3 has about 65,000. */
  addedText: 1 << 18,
  /**
   * Bytes of one token's text. Runs of 128 letters, two bytes each, are the longest published ones.
   */
  token: 4 * KiB,
  /** Bytes of the text of all tokens. Gemma 3 has about 2.5 MB. */
  tokenText: 32 * MiB,
  /** Tensors of a model. Llama 3.1 405B has 1,138. */
  tensors: 1 << 14,
  /** Bytes of a tensor's name. Published ones stay below 100. */
  name: 512,
  /**
   * Bytes of a GGUF's head: metadata and tensor descriptions. A vocabulary of 262,144 tokens with
   * its merges takes 16 MB.
   */
  ggufHead: 64 * MiB,
  /** Metadata entries of a GGUF. Published files have about 60. */
  ggufEntries: 4096,
  /**
   * Texts and lists within the lists of a GGUF's metadata. A vocabulary of 262,144 tokens with its
   * merges has 780,000.
   */
  ggufElements: 1 << 22,
  /** Bytes of a text in a GGUF's metadata that is not a token. Chat templates stay below 100 kB. */
  ggufText: MiB,
  /** Parts of a model in several safetensors files. Llama 3.1 405B has 191. */
  shards: 1024,
  /** Bytes of a predictor. One for a base of 8 billion parameters has about 270 MB. */
  predictor: 1 << 30,
  /** Bytes of a chat template in a file of its own. */
  template: MiB,
} as const

/**
 * Bounds of the JSON that a model brings. A value costs some tens of bytes once it is parsed,
 * whatever it costs in the file: they are counted before parsing.
 */
export const jsonBounds = {
  /** config.json and generation_config.json: a few kB; some list thousands of labels. */
  config: { bytes: MiB, values: 50_000, depth: 32 },
  /** tokenizer_config.json: Gemma 3's describes 6,414 added tokens in 1.2 MB. */
  tokenizerConfig: { bytes: 16 * MiB, values: 400_000, depth: 32 },
  /** tokenizer.json: Gemma 3's has 33 MB, and 1.8 million values, most of them parts of merges. */
  tokenizer: {
    bytes: 128 * MiB,
    values: 8_000_000,
    depth: 32,
    text: MiB,
    entries: { 'model.vocab': limits.tokens, 'model.merges': limits.merges, added_tokens: limits.addedTokens },
  },
  /**
   * The head of a safetensors file: Llama 3.1 405B's, of all its tensors, would have 0.2 MB; the
   * format itself allows 100 MB.
   */
  safetensorsHead: { bytes: 16 * MiB, values: 300_000, depth: 8 },
  /** model.safetensors.index.json: DeepSeek V3's names 91,000 tensors in 9 MB. */
  index: { bytes: 36 * MiB, values: 800_000, depth: 8 },
  /**
   * The head of a prepared file holds the texts of the vocabulary and the tokenizer's settings:
   * about 5 MB for Gemma 3's.
   */
  preparedHead: { bytes: 32 * MiB, values: 2_500_000, depth: 32, text: MiB, entries: { tokens: limits.tokens } },
} as const satisfies Record<string, JsonBounds>
