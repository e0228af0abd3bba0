/**
 * Describes Gemma 2 (arXiv 2408.00118): a Gemma with soft caps of scores and logits, where every
 * second layer sees a window.
 */
import type { Json } from '../json.ts'
import { keyRules } from '../key-rules.ts'
import type { Family } from './family.ts'
import {
  type GemmaShape,
  gemmaConfig,
  gemmaFolder,
  gemmaGguf,
  gemmaGgufKeys,
  gemmaGgufSlides,
  gemmaKeys,
  gemmaLayers,
  gemmaNeutral,
  gemmaTensor,
} from './gemma.ts'
import { plainKeys, plainSpec } from './plain.ts'

/** The 27B has 46 layers. */
const shape: GemmaShape = { name: 'gemma2', pattern: 2, wide: 46, softCaps: { attention: 50, logits: 30 } }

/** Defaults of transformers for absent keys. */
const defaults = {
  head_dim: 256,
  max_position_embeddings: 8192,
  num_key_value_heads: 4,
  query_pre_attn_scalar: 256,
  sliding_window: 4096,
}

export const gemma2: Family = {
  name: 'gemma2',
  gguf: {
    name: 'gemma2',
    keys: gemmaGgufKeys,
    read: (metadata, tensors) => gemmaGguf(shape, metadata, tensors),
    slides: (metadata, layers) => gemmaGgufSlides(shape, metadata, layers),
  },
  huggingFace: {
    ...gemmaFolder(shape, defaults),
    name: 'gemma2',
    keys: keyRules([...plainKeys, ...gemmaKeys], [], gemmaNeutral),
    read: (json, where) => gemmaConfig(shape, { ...defaults, ...json } satisfies Json, where),
  },
  tensor: gemmaTensor,
  spec: (config) => plainSpec(config, gemmaLayers),
}
