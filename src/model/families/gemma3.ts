/**
 * Describes the text models of Gemma 3 (arXiv 2503.19786): a Gemma with an RMS norm on each head of
 * q and k, where five of six layers see a window and turn by a frequency of their own.
 */
import { ForetokenError } from '../../base/errors.ts'
import type { ModelConfig, ModelSpec } from '../../base/model.ts'
import { checkedTheta, numberOf } from '../config.ts'
import { type Json, show } from '../json.ts'
import { keyRules } from '../key-rules.ts'
import { ropesByKind } from '../rope.ts'
import type { Family, GgufForm } from './family.ts'
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

/** The name of the family that is this one, but for attention that goes both ways. */
export const gemmaEmbedding = 'gemma-embedding'

/** The 27B has 62 layers. */
export const gemma3Shape: GemmaShape = { name: 'gemma3', pattern: 6, wide: 62, softCaps: {} }

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

const folder = gemmaFolder(gemma3Shape, defaults)

export const gemma3: Family = {
  name: 'gemma3',
  gguf: gemma3Gguf(gemma3Shape),
  huggingFace: {
    ...folder,
    name: 'gemma3_text',
    keys: keyRules([...plainKeys, ...gemmaKeys, 'rope_local_base_freq use_bidirectional_attention'], [], gemmaNeutral),
    normal: (json, where) => ropesByKind(json, 'rope_local_base_freq', where),
    read(json, where) {
      const all: Json = { ...defaults, ...json }
      const name = isBothWays(json, where) ? gemmaEmbedding : gemma3Shape.name
      const config = gemmaConfig({ ...gemma3Shape, name }, all, where)
      const key = 'rope_local_base_freq'
      const local = checkedTheta(numberOf(all, key, where), key, where)
      return withThetas(config, gemmaSlides(gemma3Shape, all, config.layers, where), local)
    },
    windows(json, layers, where) {
      const windows = folder.windows(json, layers, where)
      return isBothWays(json, where) ? windows?.map((window) => (window > 0 ? halfWindow(window) : 0)) : windows
    },
  },
  tensor: gemmaTensor,
  spec: gemma3Spec,
}

export function gemma3Spec(config: ModelConfig): ModelSpec {
  return plainSpec(config, { ...gemmaLayers, qkNorms: 'heads' })
}

/** Returns the form of a GGUF whose keys begin with the shape's name. */
export function gemma3Gguf(shape: GemmaShape): GgufForm {
  return {
    name: shape.name,
    keys: gemmaGgufKeys,
    read(metadata, tensors) {
      const config = gemmaGguf(shape, metadata, tensors)
      const key = `${shape.name}.rope.freq_base_swa`
      const local = checkedTheta(metadata.optionalNumber(key) ?? localTheta, key, metadata.where)
      return withThetas(config, gemmaGgufSlides(shape, metadata, config.layers), local)
    },
    slides: (metadata, layers) => gemmaGgufSlides(shape, metadata, layers),
  }
}

/**
 * Returns the tokens that a query sees up to its own in a window that goes both ways: half of the
 * window before it, and half behind it.
 */
export function halfWindow(window: number): number {
  return Math.floor(window / 2) + 1
}

function isBothWays({ use_bidirectional_attention: value }: Json, where: string): boolean {
  if (value === undefined || value === null) return false
  if (typeof value === 'boolean') return value
  throw new ForetokenError('bad_model', `${where}: use_bidirectional_attention is ${show(value)}, not true or false`)
}

function withThetas(config: ModelConfig, slides: readonly boolean[], local: number): ModelConfig {
  return { ...config, ropeThetas: slides.map((slides) => (slides ? local : config.ropeTheta)) }
}
