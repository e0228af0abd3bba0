/**
 * Describes what most families share with Llama: names of tensors, keys of the config, and layers
 * of norm, attention, norm and gated MLP. A family adds its differences.
 */
import type { LayerSpec, ModelConfig, ModelSpec, RopeSpec, TensorInfo } from '../../base/model.ts'
import { type ConfigNames, checkedLayers, layerShapes, numberOf } from '../config.ts'
import type { Json } from '../json.ts'
import type { MetadataReader } from '../metadata.ts'
import { thetaOf } from '../rope.ts'
import { windowsOf } from '../window.ts'
import type { GgufForm, HuggingFaceForm, TensorPlace, TensorSource } from './family.ts'

/** Keys of config.json that `plainConfig` honours. */
export const plainKeys = [
  'hidden_size intermediate_size max_position_embeddings num_attention_heads num_hidden_layers num_key_value_heads rms_norm_eps',
  'rope_theta tie_word_embeddings',
]

/** What `plainConfig` reads the fields of a config from. */
export const plainNames: ConfigNames = {
  layers: 'num_hidden_layers',
  hidden: 'hidden_size',
  intermediate: 'intermediate_size',
  heads: 'num_attention_heads',
  kvHeads: 'num_key_value_heads',
  headDim: 'head_dim',
  vocab: 'vocab_size',
  maxContext: 'max_position_embeddings',
  rmsEps: 'rms_norm_eps',
  ropeTheta: 'rope_theta',
  ropeTurned: 'partial_rotary_factor',
  ropeAmplitude: 'attention_factor of RoPE',
  attentionSoftCap: 'attn_logit_softcapping',
  logitSoftCap: 'final_logit_softcapping',
  tiedEmbedding: 'tie_word_embeddings',
}

/** Gives the names that a GGUF has for them; there they follow its architecture and a dot. */
export const plainGgufNames: ConfigNames = {
  layers: 'block_count',
  hidden: 'embedding_length',
  intermediate: 'feed_forward_length',
  heads: 'attention.head_count',
  kvHeads: 'attention.head_count_kv',
  headDim: 'attention.key_length',
  vocab: 'vocab_size',
  maxContext: 'context_length',
  rmsEps: 'attention.layer_norm_rms_epsilon',
  ropeTheta: 'rope.freq_base',
  ropeTurned: 'rope.dimension_count',
  ropeAmplitude: 'rope.scaling.attn_factor',
  attentionScale: 'attention.scale',
  attentionSoftCap: 'attn_logit_softcapping',
  logitSoftCap: 'final_logit_softcapping',
  embeddingScale: 'embedding_scale',
  residualScale: 'residual_scale',
  logitScale: 'logit_scale',
}

/**
 * Names in a GGUF and in a Hugging Face folder, without `.weight` or `.bias`, of tensors of the
 * whole model.
 */
const modelTensors: Readonly<Record<string, readonly [gguf: string, huggingFace: string]>> = {
  embed: ['token_embd', 'model.embed_tokens'],
  embedTail: ['token_embd_tail', 'model.embed_tokens_tail'],
  norm: ['output_norm', 'model.norm'],
  head: ['output', 'lm_head'],
}

/** The same names for tensors of a layer, after `blk.0.` and `model.layers.0.`. */
const layerTensors: Readonly<Record<string, readonly [gguf: string, huggingFace: string]>> = {
  attnNorm: ['attn_norm', 'input_layernorm'],
  q: ['attn_q', 'self_attn.q_proj'],
  k: ['attn_k', 'self_attn.k_proj'],
  v: ['attn_v', 'self_attn.v_proj'],
  qBias: ['attn_q', 'self_attn.q_proj'],
  kBias: ['attn_k', 'self_attn.k_proj'],
  vBias: ['attn_v', 'self_attn.v_proj'],
  qNorm: ['attn_q_norm', 'self_attn.q_norm'],
  kNorm: ['attn_k_norm', 'self_attn.k_norm'],
  o: ['attn_output', 'self_attn.o_proj'],
  oBias: ['attn_output', 'self_attn.o_proj'],
  attnOutNorm: ['post_attention_norm', 'post_attention_layernorm'],
  ffnNorm: ['ffn_norm', 'post_attention_layernorm'],
  gate: ['ffn_gate', 'mlp.gate_proj'],
  up: ['ffn_up', 'mlp.up_proj'],
  down: ['ffn_down', 'mlp.down_proj'],
  ffnOutNorm: ['post_ffw_norm', 'post_feedforward_layernorm'],
}

/** Returns Llama's names for a tensor. */
export function plainTensor(name: string, { layer }: TensorPlace): TensorSource {
  const [gguf = name, huggingFace = name] = (layer ? layerTensors : modelTensors)[name] ?? []
  const ending = name.endsWith('Bias') ? 'bias' : 'weight'
  if (!layer) return { gguf: `${gguf}.${ending}`, huggingFace: `${huggingFace}.${ending}` }
  return {
    gguf: `blk.${layer.index}.${gguf}.${ending}`,
    huggingFace: `model.layers.${layer.index}.${huggingFace}.${ending}`,
  }
}

/**
 * Returns Llama's recipe with the scales, caps, windows and rotations of the config, and with
 * `otherwise` applied to every layer.
 */
export function plainSpec(config: ModelConfig, otherwise: Partial<LayerSpec> = {}): ModelSpec {
  const { architecture, headDim, rmsEps, windows, attentionScale, attentionSoftCap, residualScale } = config
  const { embeddingScale = 1, logitScale = 1, logitSoftCap, convolutions, hidden } = config
  const ropes = ropesOf(config)
  const layers = layerShapes(config).map((shape, index): LayerSpec => {
    const window = windows?.[index]
    const rope = ropes(index)
    const taps = convolutions?.[index]
    return {
      ...shape,
      ...(taps && { convolution: { taps }, kvHeads: hidden / (2 * headDim) }),
      norms: { beforeAttention: true, afterAttention: false, beforeMlp: true, afterMlp: false },
      qkNorms: 'none',
      biases: { qkv: false, output: false },
      ...(rope && { rope }),
      attention: {
        scale: attentionScale ?? 1 / Math.sqrt(headDim),
        ...(window && { window }),
        ...(attentionSoftCap !== undefined && { softCap: attentionSoftCap }),
      },
      activation: 'silu',
      residualScale: residualScale ?? 1,
      ...otherwise,
    }
  })
  const caps = logitSoftCap === undefined ? {} : { logitSoftCap }
  return { family: architecture, headDim, rmsEps, layers, embeddingScale, logitScale, ...caps }
}

/** Returns a function that gives each layer its rotation, the same object to layers that rotate alike. */
function ropesOf(config: ModelConfig): (layer: number) => RopeSpec | undefined {
  const { headDim, ropeTheta, ropeThetas, ropePairs, ropeTurned, ropeAmplitude, ropeDivisors, ropeLong } = config
  const made = new Map<number, RopeSpec>()
  return (layer) => {
    const theta = ropeThetas?.[layer] ?? ropeTheta
    if (theta === 0) return undefined
    const rope = made.get(theta) ?? {
      headDim,
      theta,
      pairs: ropePairs,
      ...(ropeTurned !== undefined && { turned: ropeTurned }),
      ...(ropeDivisors && theta === ropeTheta && { divisors: ropeDivisors }),
      ...(ropeLong && theta === ropeTheta && { long: ropeLong }),
      ...(ropeAmplitude !== undefined && { amplitude: ropeAmplitude }),
    }
    made.set(theta, rope)
    return rope
  }
}

/** The parts of `HuggingFaceForm` that read Llama's keys. */
export const plainFolder: Pick<HuggingFaceForm, 'windows' | 'tied'> = {
  windows: windowsOf,
  tied: (json) => json.tie_word_embeddings,
}

/** Reads a config.json with Llama's keys. Throws `bad_model`. */
export function plainConfig(architecture: string, json: Json, where: string): ModelConfig {
  const number = (key: string, otherwise?: number) => numberOf(json, key, where, otherwise)
  const heads = number('num_attention_heads')
  const hidden = number('hidden_size')
  return {
    architecture,
    layers: checkedLayers(number('num_hidden_layers'), 'num_hidden_layers', where),
    hidden,
    intermediate: number('intermediate_size'),
    heads,
    kvHeads: number('num_key_value_heads', heads),
    headDim: number('head_dim', hidden / heads),
    vocab: number('vocab_size'),
    maxContext: number('max_position_embeddings', 2048),
    rmsEps: number('rms_norm_eps', 1e-6),
    ropeTheta: thetaOf(json, where),
    ropePairs: 'half',
    tiedEmbedding: true,
  }
}

/** Returns the form of a GGUF with Llama's keys after `name.`. */
export function plainGguf(name: string, ropePairs: ModelConfig['ropePairs']): GgufForm {
  return { name, read: (metadata, tensors) => plainGgufConfig(name, ropePairs, metadata, tensors) }
}

/** Reads a GGUF with Llama's keys. `kvHeads` is given where the file has them by layer. Throws `bad_model`. */
export function plainGgufConfig(
  name: string,
  ropePairs: ModelConfig['ropePairs'],
  metadata: MetadataReader,
  tensors: ReadonlyMap<string, TensorInfo>,
  kvHeads?: number,
): ModelConfig {
  const number = (key: string) => metadata.number(`${name}.${key}`)
  const optional = (key: string) => metadata.optionalNumber(`${name}.${key}`)
  const heads = number('attention.head_count')
  const hidden = number('embedding_length')
  return {
    architecture: name,
    layers: checkedLayers(number('block_count'), `${name}.block_count`, metadata.where),
    hidden,
    intermediate: number('feed_forward_length'),
    heads,
    kvHeads: kvHeads ?? optional('attention.head_count_kv') ?? heads,
    headDim: optional('attention.key_length') ?? hidden / heads,
    vocab: tensors.get('token_embd.weight')?.rows ?? number('vocab_size'),
    maxContext: number('context_length'),
    rmsEps: number('attention.layer_norm_rms_epsilon'),
    ropeTheta: optional('rope.freq_base') ?? 10_000,
    ropePairs,
    tiedEmbedding: !tensors.has('output.weight'),
  }
}
