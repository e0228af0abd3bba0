/**
 * The shapes of models that people run, as their files in Q4_0 have them: `llama-quantize` writes a
 * tied embedding in Q6_K, since it is the output, too.
 */
import type { ModelConfig } from '../../src/base/model.ts'

export interface LargeModel {
  readonly config: ModelConfig
  /** Name of the rule that cuts text, as GGUF files have it. */
  readonly pre: string
  /** Number of special tokens, and of rows of the embedding that have no token. */
  readonly special: number
  readonly padding: number
  readonly merges: number
  /** Whether the file has factors of RoPE, as those of Llama 3.2. */
  readonly ropeFactors?: boolean
}

const shared = { rmsEps: 1e-5, tiedEmbedding: true } as const

export const largeModels: Readonly<Record<string, LargeModel>> = {
  'qwen3-0.6b': {
    config: {
      ...{ architecture: 'qwen3', ropePairs: 'half', ...shared, rmsEps: 1e-6 },
      ...{ layers: 28, hidden: 1024, intermediate: 3072, heads: 16, kvHeads: 8, headDim: 128 },
      ...{ vocab: 151_936, maxContext: 40_960, ropeTheta: 1e6 },
    },
    ...{ pre: 'qwen2', special: 26, padding: 267, merges: 151_387 },
  },
  'llama3.2-1b': {
    config: {
      ...{ architecture: 'llama', ropePairs: 'adjacent', ...shared },
      ...{ layers: 16, hidden: 2048, intermediate: 8192, heads: 32, kvHeads: 8, headDim: 64 },
      ...{ vocab: 128_256, maxContext: 131_072, ropeTheta: 5e5 },
    },
    ...{ pre: 'llama-bpe', special: 256, padding: 0, merges: 280_147, ropeFactors: true },
  },
  'smollm2-1.7b': {
    config: {
      ...{ architecture: 'llama', ropePairs: 'adjacent', ...shared },
      ...{ layers: 24, hidden: 2048, intermediate: 8192, heads: 32, kvHeads: 32, headDim: 64 },
      ...{ vocab: 49_152, maxContext: 8192, ropeTheta: 130_000 },
    },
    ...{ pre: 'smollm', special: 17, padding: 0, merges: 48_900 },
  },
  'llama3.2-3b': {
    config: {
      ...{ architecture: 'llama', ropePairs: 'adjacent', ...shared },
      ...{ layers: 28, hidden: 3072, intermediate: 8192, heads: 24, kvHeads: 8, headDim: 128 },
      ...{ vocab: 128_256, maxContext: 131_072, ropeTheta: 5e5 },
    },
    ...{ pre: 'llama-bpe', special: 256, padding: 0, merges: 280_147, ropeFactors: true },
  },
}
