/** Defines and checks the options of an ONNX engine. */
import { functionOf, textOf, wrong } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import {
  anyFields,
  bytes,
  type Checks,
  callable,
  checkedFields,
  flag,
  listWith,
  needed,
  texts,
  wholeFrom,
} from '../base/fields.ts'
import type { Engine } from '../engine/engine.ts'
import type { EngineOptions } from '../engine/options.ts'
import { isAnyEngine } from '../engine/service.ts'
import type { SpawnText } from '../tokens/text-messages.ts'
import type { OrtModule } from './runtime.ts'
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

/** The checks of an ONNX engine's options. */
export const ortChecks: Checks<OrtEngineOptions> = {
  // A module's namespace, or a default export, which may be a function.
  ort: needed((_, value) => value as OrtModule),
  executionProviders: texts,
  sessionOptions: anyFields(),
  externalData: listWith((name, value) => {
    return checkedFields<ExternalFile>(name, value, { path: needed(textOf), data: needed(bytes) })
  }),
  reader: (name, value) => {
    if (!isAnyEngine(value)) throw wrong(name, 'an Engine', value)
    return value as Engine
  },
  closesReader: flag,
  context: wholeFrom(2),
  maxRunning: wholeFrom(1),
  maxWaiting: wholeFrom(0),
  spawnText: callable(),
  guides: callable(),
}

type ExternalFile = NonNullable<OrtOptions['externalData']>[number]

/** Reads the options once. Throws `bad_argument`. */
export function checkedOptions(wanted: OrtEngineOptions): OrtEngineOptions {
  const options = checkedFields('the options', wanted, ortChecks)
  functionOf('ort.InferenceSession.create', options.ort?.InferenceSession?.create)
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
