/** Types of a family of models, for the readers of files. */
import type { LayerShape, ModelConfig, ModelSpec, TensorInfo } from '../../base/model.ts'
import type { Json } from '../json.ts'
import type { KeyRules } from '../key-rules.ts'
import type { MetadataReader } from '../metadata.ts'

export interface Family {
  /** The name that `ModelConfig.architecture` has for it. */
  readonly name: string
  /** Its form in GGUF files; absent if they are not read. */
  readonly gguf?: GgufForm
  /** Its form in Hugging Face folders; absent if they are not read. */
  readonly huggingFace?: HuggingFaceForm
  /** Returns the names that files have for a tensor, and what is done to it as it is loaded. */
  tensor(name: string, where: TensorPlace): TensorSource
  /** Returns what a model with this config computes. */
  spec(config: ModelConfig): ModelSpec
}

export interface GgufForm {
  /** Its `general.architecture`, with which its keys begin. */
  readonly name: string
  /** Reads the config, without scaling of RoPE and not yet checked. Throws `bad_model`. */
  read(metadata: MetadataReader, tensors: ReadonlyMap<string, TensorInfo>): ModelConfig
}

export interface HuggingFaceForm {
  /** Its `model_type` in config.json. */
  readonly name: string
  readonly keys: KeyRules
  /**
   * Reads the config, without scaling of RoPE and windows, and not yet checked. Throws `bad_model`,
   * `unsupported`.
   */
  read(json: Json, where: string): ModelConfig
  /**
   * Returns the windows of the layers, see `ModelConfig`; undefined if all see the whole context.
   * Throws `bad_model`, `unsupported`.
   */
  windows(json: Json, layers: number, where: string): readonly number[] | undefined
  /**
   * Returns the flag in config.json that says whether the embedding is the vocabulary projection,
   * not yet checked.
   */
  tied(json: Json): unknown
  /**
   * Advice for a folder without tokenizer.json, where published folders of the family lack it. It
   * ends the error message.
   */
  readonly withoutTokenizer?: string
}

/** The layer of a tensor, with its index; undefined for a tensor of the whole model. */
export interface TensorPlace {
  readonly config: ModelConfig
  readonly layer: (LayerShape & { readonly index: number }) | undefined
}

/** The sources of a tensor in each form of file. */
export interface TensorSource {
  readonly gguf: string
  readonly huggingFace: string
  /**
   * The rows of the Hugging Face tensor that it is, from row `from` of `of`; absent if it is all of
   * them.
   */
  readonly part?: { readonly from: number; readonly of: number }
  /** Added to each value of a vector, see `TensorInfo`. */
  readonly plus?: number
}
