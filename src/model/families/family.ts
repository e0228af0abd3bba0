/** Defines the types that describe a family of models to the readers of files. */
import type { EmbeddingSpec, LayerShape, ModelConfig, ModelSpec, TensorInfo } from '../../base/model.ts'
import type { ConfigNames } from '../config.ts'
import type { Json } from '../json.ts'
import type { KeyRules } from '../key-rules.ts'
import type { MetadataReader } from '../metadata.ts'

export interface Family {
  /** The value of `ModelConfig.architecture` for this family. */
  readonly name: string
  /** How GGUF files describe it; absent if they are not supported. */
  readonly gguf?: GgufForm
  /** How Hugging Face folders describe it; absent if they are not supported. */
  readonly huggingFace?: HuggingFaceForm
  /** Returns the names of a tensor in files, and how it changes when it is loaded. */
  tensor(name: string, where: TensorPlace): TensorSource
  /** Returns the recipe of a model with this config. */
  spec(config: ModelConfig): ModelSpec
}

export interface GgufForm {
  /** Its `general.architecture`, which is also the prefix of its keys. */
  readonly name: string
  /** Its own keys for fields of the config, behind the name and a dot, beside those of `plainGgufNames`. */
  readonly names?: ConfigNames
  /** Keys, behind the name and a dot, that `read` honours beside those that all readers do. */
  readonly keys?: ReadonlySet<string>
  /** Reads the config, without scaling of RoPE and windows, and not yet checked. Throws `bad_model`. */
  read(metadata: MetadataReader, tensors: ReadonlyMap<string, TensorInfo>): ModelConfig | Promise<ModelConfig>
  /**
   * Returns which of the layers see only a window, if the file has one. Absent if all do. Throws
   * `bad_model`, `unsupported`.
   */
  slides?(metadata: MetadataReader, layers: number): readonly boolean[]
  /**
   * Returns the tokens that a query of such a layer sees, its own included and up to it, where
   * `attention.sliding_window` counts otherwise.
   */
  windowOf?(tokens: number): number
  /** Returns what is known of the family's embeddings and is not in the file. */
  embedding?(config: ModelConfig): Partial<EmbeddingSpec>
}

export interface HuggingFaceForm {
  /** Its `model_type` in config.json. */
  readonly name: string
  readonly keys: KeyRules
  /** Its own keys for fields of the config, beside those of `plainNames`. */
  readonly names?: ConfigNames
  /**
   * Returns config.json in the form that the other functions read, where versions of transformers
   * write different ones. Throws `bad_model`, `unsupported`.
   */
  normal?(json: Json, where: string): Json
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

/** Says where a tensor belongs. `layer` is undefined for a tensor of the whole model. */
export interface TensorPlace {
  readonly config: ModelConfig
  readonly layer: (LayerShape & { readonly index: number }) | undefined
}

/** The source of a tensor in each kind of file. */
export interface TensorSource {
  readonly gguf: string
  readonly huggingFace: string
  /**
   * The rows of the file's tensor that belong to it: those from `from` on, of `of` in all. Absent
   * if all do.
   */
  readonly part?: { readonly from: number; readonly of: number }
  /** Added to each value of a vector from a Hugging Face folder, see `TensorInfo`. */
  readonly plus?: number
}
