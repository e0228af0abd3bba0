/**
 * Describes the text models of Gemma 3 (arXiv 2503.19786): a Gemma with an RMS norm on each head of
 * q and k, where five of six layers see a window and turn by a frequency of their own.
 */
import type { ModelConfig } from '../../base/model.ts'
import { numberOf } from '../config.ts'
import type { Json } from '../json.ts'
import { keyRules } from '../key-rules.ts'
import { ropesByKind } from '../rope.ts'
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
  gemmaSlides,
  gemmaTensor,
} from './gemma.ts'
import { plainKeys, plainSpec } from './plain.ts'

/** The 27B has 62 layers. */
const shape: GemmaShape = { name: 'gemma3', pattern: 6, wide: 62, softCaps: {} }

/** Base of the frequencies of layers that slide. */
const localTheta = 10_000

/** Defaults of transformers for absent keys. */
const defaults = {
  head_dim: 256,
  max_position_embeddings: 131_072,
  num_key_value_heads: 4,
  query_pre_attn_scalar: 256,
  rope_local_base_freq: localTheta,
  rope_theta: 1e6,
  sliding_window: 4096,
}

export const gemma3: Family = {
  name: 'gemma3',
  gguf: {
    name: 'gemma3',
    keys: gemmaGgufKeys,
    read(metadata, tensors) {
      const config = gemmaGguf(shape, metadata, tensors)
      const local = metadata.optionalNumber('gemma3.rope.freq_base_swa') ?? localTheta
      return withThetas(config, gemmaGgufSlides(shape, metadata, config.layers), local)
    },
    slides: (metadata, layers) => gemmaGgufSlides(shape, metadata, layers),
  },
  huggingFace: {
    ...gemmaFolder(shape, defaults),
    name: 'gemma3_text',
    keys: keyRules([...plainKeys, ...gemmaKeys, 'rope_local_base_freq'], [], gemmaNeutral),
    normal: (json, where) => ropesByKind(json, 'rope_local_base_freq', where),
    read(json, where) {
      const all: Json = { ...defaults, ...json }
      const config = gemmaConfig(shape, all, where)
      const local = numberOf(all, 'rope_local_base_freq', where)
      return withThetas(config, gemmaSlides(shape, all, config.layers, where), local)
    },
  },
  tensor: gemmaTensor,
  spec: (config) => plainSpec(config, { ...gemmaLayers, qkNorms: 'heads' }),
}

function withThetas(config: ModelConfig, slides: readonly boolean[], local: number): ModelConfig {
  return { ...config, ropeThetas: slides.map((slides) => (slides ? local : config.ropeTheta)) }
}
