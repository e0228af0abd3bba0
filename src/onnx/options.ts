/** Defines and checks the options of an ONNX engine. */
import { fieldsOf, functionOf, wrong } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import type { Engine } from '../engine/engine.ts'
import type { EngineOptions } from '../engine/options.ts'
import { isAnyEngine } from '../engine/service.ts'
import type { SpawnText } from '../tokens/text-messages.ts'
import type { OrtModel, OrtOptions } from './session.ts'

export interface OrtEngineOptions extends OrtOptions {
  /**
   * The same model in the Rust core, with a predictor. It reads the prompts whose `prefill` is not
   * `exact`.
   */
  readonly reader?: Engine
  /** Closes the reader with this engine. Default false. */
  readonly closesReader?: boolean
  /**
   * Maximum number of tokens in a prompt and its answer together. Default: the model's, at most
   * 4,096.
   */
  readonly context?: number
  /** Maximum number of requests that hold a cache at once. Default 8. */
  readonly maxRunning?: number
  /**
   * Maximum number of requests that wait for one; further ones are refused as `busy`. Default 256.
   */
  readonly maxWaiting?: number
  /** Starts a worker for chat templates and tokenizing; see `EngineOptions`. */
  readonly spawnText?: SpawnText
  /** Loads the grammar engine; see `EngineOptions`. */
  readonly guides?: EngineOptions['guides']
}

/** Reads the options once. Throws `bad_argument`. */
export function checkedOptions(wanted: OrtEngineOptions): OrtEngineOptions {
  const options = fieldsOf('the options', wanted)
  if (options.guides) functionOf('guides', options.guides)
  functionOf('ort.InferenceSession.create', options.ort?.InferenceSession?.create)
  if (options.reader !== undefined && !isAnyEngine(options.reader)) throw wrong('reader', 'an Engine', options.reader)
  return options
}

/** Throws `wrong_model` if the reader's K and V have another shape than the model's. */
export function checkReader(name: string, reader: Engine, model: OrtModel): void {
  const { layers, kvHeads, headDim } = reader.archive.config
  if (layers !== model.layers || kvHeads !== model.kvHeads || headDim !== model.headDim)
    throw new ForetokenError(
      'wrong_model',
      `${reader.archive.name} has ${layers} layers of ${kvHeads} x ${headDim} K and V, and ${name} ${model.layers} of ${model.kvHeads} x ${model.headDim}; load the same model in both`,
    )
}
