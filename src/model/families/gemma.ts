/**
 * Describes what Gemma 2 and 3 share: norms before and behind both halves of a layer whose weights
 * are differences from 1, a gelu, embeddings multiplied by the root of the width, and sliding
 * windows on all layers but the last of each group.
 */
import { ForetokenError } from '../../base/errors.ts'
import type { LayerSpec, ModelConfig, TensorInfo } from '../../base/model.ts'
import { isWhole } from '../../base/numbers.ts'
import { numberOf, positiveOf } from '../config.ts'
import { type Json, show } from '../json.ts'
import type { MetadataReader } from '../metadata.ts'
import { is } from '../neutral.ts'
import { slidingLayers, windowsWhere } from '../window.ts'
import type { HuggingFaceForm, TensorPlace, TensorSource } from './family.ts'
import { plainConfig, plainGgufConfig, plainTensor } from './plain.ts'

/** Keys of config.json that `gemmaConfig` honours beside Llama's. */
export const gemmaKeys = [
  'query_pre_attn_scalar attn_logit_softcapping final_logit_softcapping sliding_window_pattern _sliding_window_pattern',
]

const isGelu = is('gelu_pytorch_tanh')

/** The values of keys that say what these models compute anyway. */
export const gemmaNeutral = { hidden_act: isGelu, hidden_activation: isGelu }

/** Keys of a GGUF, behind its architecture, that `gemmaGguf` honours. */
export const gemmaGgufKeys = new Set(['attn_logit_softcapping', 'final_logit_softcapping', 'rope.freq_base_swa'])

/** What layers of Gemma compute differently from Llama's. */
export const gemmaLayers: Partial<LayerSpec> = {
  norms: { beforeAttention: true, afterAttention: true, beforeMlp: true, afterMlp: true },
  activation: 'gelu',
}

/** Returns the names of a tensor. Norms of folders are differences from 1; converters of GGUF add it. */
export function gemmaTensor(name: string, place: TensorPlace): TensorSource {
  const { gguf, huggingFace } = plainTensor(name, place)
  const renamed = name === 'ffnNorm' ? 'pre_feedforward_layernorm' : undefined
  return {
    gguf,
    huggingFace: renamed ? huggingFace.replace('post_attention_layernorm', renamed) : huggingFace,
    ...(/[nN]orm$/.test(name) && { plus: 1 }),
  }
}

/** How often a layer sees the whole context, if files do not say so: each `pattern`-th. */
export interface GemmaShape {
  readonly name: string
  readonly pattern: number
  /** Number of layers of the model whose scores are scaled by hidden / heads, not by the head's size. */
  readonly wide: number
  /**
   * Caps where a file does not say them. Without one for attention there is none: transformers and
   * llama.cpp read `attn_logit_softcapping` of a Gemma 3 too, but do not compute it.
   */
  readonly softCaps: { readonly attention?: number; readonly logits?: number }
}

/**
 * Reads a config.json. `json` has transformers' defaults for absent keys. Throws `bad_model`,
 * `unsupported`.
 */
export function gemmaConfig({ name, softCaps }: GemmaShape, json: Json, where: string): ModelConfig {
  const config = plainConfig(name, json, where)
  const optional = (key: string, otherwise: number | undefined) => {
    if (json[key] === null) return undefined
    const value = numberOf(json, key, where, otherwise ?? 0)
    return value === 0 ? undefined : value
  }
  const attention = softCaps.attention && optional('attn_logit_softcapping', softCaps.attention)
  const logits = optional('final_logit_softcapping', softCaps.logits)
  const scalar = positiveOf(json, 'query_pre_attn_scalar', where, config.headDim)
  return { ...config, ...scaled(config, scalar), ...caps(attention, logits) }
}

/** Returns which layers of a config.json slide. Throws `bad_model`, `unsupported`. */
export function gemmaSlides({ pattern }: GemmaShape, json: Json, layers: number, where: string): readonly boolean[] {
  const listed = slidingLayers(json, layers, where)
  if (listed) return listed
  const each = json._sliding_window_pattern ?? json.sliding_window_pattern ?? pattern
  if (!isWhole(each, 1))
    throw new ForetokenError('bad_model', `${where}: sliding_window_pattern is ${show(each)}; expected a whole number`)
  return slides(layers, each)
}

/** Returns the reader of windows and of the tied head, given transformers' defaults. */
export function gemmaFolder(shape: GemmaShape, defaults: Json): Pick<HuggingFaceForm, 'windows' | 'tied'> {
  return {
    windows(json, layers, where) {
      const config: Json = { ...defaults, ...json }
      if (config.sliding_window === null) return undefined
      return windowsWhere(gemmaSlides(shape, config, layers, where), config, where)
    },
    tied: (json) => json.tie_word_embeddings ?? true,
  }
}

/** Reads a GGUF's config. Throws `bad_model`. */
export function gemmaGguf(
  { name, wide, softCaps }: GemmaShape,
  metadata: MetadataReader,
  tensors: ReadonlyMap<string, TensorInfo>,
): ModelConfig {
  const config = plainGgufConfig(name, 'half', metadata, tensors)
  const optional = (key: string, otherwise?: number) => {
    const value = metadata.optionalNumber(`${name}.${key}`) ?? otherwise
    // Not `||`, which would take NaN for none as well.
    return value === 0 ? undefined : value
  }
  const { layers, hidden, heads, headDim } = config
  const attention = softCaps.attention && optional('attn_logit_softcapping', softCaps.attention)
  const logits = optional('final_logit_softcapping', softCaps.logits)
  return { ...config, ...scaled(config, layers === wide ? hidden / heads : headDim), ...caps(attention, logits) }
}

/** Returns which layers of a GGUF slide. Throws `bad_model`, `unsupported`. */
export function gemmaGgufSlides(
  { name, pattern }: GemmaShape,
  metadata: MetadataReader,
  layers: number,
): readonly boolean[] {
  const key = `${name}.attention.sliding_window_pattern`
  const each = metadata.value(key) ?? pattern
  if (typeof each === 'object')
    throw new ForetokenError(
      'unsupported',
      `${metadata.where}: ${key} is a list; a number is read: use the model's safetensors`,
    )
  if (!isWhole(each, 1))
    throw new ForetokenError('bad_model', `${metadata.where}: ${key} is ${show(each)}; expected a whole number`)
  return slides(layers, each)
}

function slides(layers: number, pattern: number): boolean[] {
  return Array.from({ length: layers }, (_, layer) => (layer + 1) % pattern !== 0)
}

function scaled({ hidden, headDim }: ModelConfig, scalar: number): Partial<ModelConfig> {
  return {
    embeddingScale: Math.sqrt(hidden),
    ...(scalar !== headDim && { attentionScale: 1 / Math.sqrt(scalar) }),
  }
}

function caps(attention: number | undefined, logits: number | undefined): Partial<ModelConfig> {
  return {
    ...(attention !== undefined && { attentionSoftCap: attention }),
    ...(logits !== undefined && { logitSoftCap: logits }),
  }
}
