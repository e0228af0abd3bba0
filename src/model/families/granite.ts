/**
 * Describes IBM's dense Granite 3 and 4: a llama with factors of embeddings, of scores, of what
 * layers add, and of logits.
 */
import type { ModelConfig } from '../../base/model.ts'
import { positiveOf } from '../config.ts'
import { keyRules } from '../key-rules.ts'
import type { Family } from './family.ts'
import { plainConfig, plainFolder, plainGgufConfig, plainKeys, plainSpec, plainTensor } from './plain.ts'

interface Factors {
  readonly attention: number
  readonly embedding: number
  readonly residual: number
  /** The divisor of the logits. */
  readonly logits: number
}

const logits = 'granite.logit_scale'

export const granite: Family = {
  name: 'granite',
  gguf: {
    name: 'granite',
    keys: new Set(['attention.scale', 'embedding_scale', 'residual_scale', 'logit_scale']),
    // llama.cpp permutes wq and wk as those of a llama.
    read(metadata, tensors) {
      const config = plainGgufConfig('granite', 'adjacent', metadata, tensors)
      // In a GGUF, 0 is no factor; the logits are divided by theirs, as by llama.cpp, whatever it is.
      const factor = (name: string, otherwise: number) => {
        const key = `granite.${name}`
        const value = metadata.optionalNumber(key) ?? 0
        return value === 0 ? otherwise : positiveOf({ [key]: value }, key, metadata.where)
      }
      return withFactors(config, {
        attention: factor('attention.scale', 1 / Math.sqrt(config.headDim)),
        embedding: factor('embedding_scale', 1),
        residual: factor('residual_scale', 1),
        logits: positiveOf({ [logits]: metadata.optionalNumber(logits) }, logits, metadata.where, 1),
      })
    },
  },
  huggingFace: {
    ...plainFolder,
    name: 'granite',
    names: { attentionScale: 'attention_multiplier' },
    keys: keyRules([...plainKeys, 'attention_multiplier embedding_multiplier residual_multiplier logits_scaling']),
    read(json, where) {
      const factor = (key: string) => positiveOf(json, key, where, 1)
      return withFactors(plainConfig('granite', json, where), {
        attention: factor('attention_multiplier'),
        embedding: factor('embedding_multiplier'),
        residual: factor('residual_multiplier'),
        logits: factor('logits_scaling'),
      })
    },
  },
  tensor: plainTensor,
  spec: plainSpec,
}

function withFactors(config: ModelConfig, { attention, embedding, residual, logits }: Factors): ModelConfig {
  return {
    ...config,
    attentionScale: attention,
    embeddingScale: embedding,
    residualScale: residual,
    logitScale: 1 / logits,
  }
}
