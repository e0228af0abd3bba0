/**
 * Describes EmbeddingGemma (arXiv 2509.20354): a Gemma 3 whose tokens see those behind them, with the
 * mean of their states and two dense layers as the vector of a text. A folder says so as a
 * `gemma3_text` with `use_bidirectional_attention`, and has the dense layers as modules of
 * sentence-transformers.
 */
import { ForetokenError } from '../../base/errors.ts'
import type { ModelConfig, ModelSpec } from '../../base/model.ts'
import type { Family } from './family.ts'
import { gemmaTensor } from './gemma.ts'
import { gemma3Gguf, gemma3Shape, gemma3Spec, gemmaEmbedding, halfWindow } from './gemma3.ts'

const gguf = gemma3Gguf({ ...gemma3Shape, name: gemmaEmbedding })

/** The prompts of the model card, which a GGUF does not have. */
const prompts = { query: 'task: search result | query: ', document: 'title: none | text: ' }

const denseKeys = ['dense_2_feat_in', 'dense_2_feat_out', 'dense_3_feat_in', 'dense_3_feat_out']

export const gemmaEmbeddings: Family = {
  name: gemmaEmbedding,
  gguf: {
    ...gguf,
    keys: new Set([...(gguf.keys ?? []), 'attention.causal', ...denseKeys]),
    async read(metadata, tensors) {
      if (metadata.optionalFlag(`${gemmaEmbedding}.attention.causal`))
        throw new ForetokenError(
          'unsupported',
          `${metadata.where}: ${gemmaEmbedding}.attention.causal is true, and the family sees both ways: get the file again`,
        )
      const config = await gguf.read(metadata, tensors)
      const dense = [2, 3].flatMap((module) => tensors.get(`dense_${module}.weight`)?.rows ?? [])
      return { ...config, ...(dense.length > 0 && { dense }) }
    },
    windowOf: halfWindow,
    embedding: ({ dense }) => ({
      prompts,
      ...(!dense && {
        refused:
          'the file lacks its dense layers, dense_2.weight and dense_3.weight: get one that was converted with them ' +
          "(--sentence-transformers-dense-modules), or the model's folder",
      }),
    }),
  },
  tensor: gemmaTensor,
  spec: bothWays,
}

function bothWays(config: ModelConfig): ModelSpec {
  const spec = gemma3Spec(config)
  const layers = spec.layers.map((layer) => ({ ...layer, attention: { ...layer.attention, bothWays: true } }))
  return { ...spec, layers }
}
