/** What a caller may ask of an engine and of a request. */
import type { WasmOptions } from './backend/wasm.ts'
import type { SamplingOptions } from './decode/sampling.ts'
import { ForetokenError } from './errors.ts'
import type { ModelOptions } from './model/llama.ts'
import type { KvType, ModelArchive } from './types.ts'

export interface EngineOptions extends Omit<WasmOptions, 'modules'> {
  /** Compiled modules of the Rust core. */
  readonly wasm: WasmOptions['modules']
  /** How KV pages are stored. Default f32. */
  readonly kv?: KvType
  /** Tokens of context that all sequences share. Default: the model's, at most 4,096. */
  readonly context?: number
  /** Tokens in a pass: more is a little faster, and takes more memory. Default 256. */
  readonly passTokens?: number
  readonly onProgress?: (done: number, total: number) => void
}

export interface PrefillRequest {
  readonly signal?: AbortSignal | undefined
  /** Prompt tokens done, and in all; called after every chunk. */
  readonly onPrefill?: ((done: number, total: number) => void) | undefined
}

export interface GenerateOptions extends SamplingOptions, PrefillRequest {
  /** The prompt is text to continue: no chat template. */
  readonly raw?: boolean
  /** Default: what the context leaves. */
  readonly maxTokens?: number
  /** Strings that end the answer, not shown. */
  readonly stop?: readonly string[]
  /** Go on past the model's end-of-turn tokens. */
  readonly ignoreEos?: boolean
}

/** The context to make room for. Throws `bad_argument`. */
export function contextOf(archive: ModelArchive, wanted: number | undefined): number {
  const most = archive.config.maxContext
  const context = wanted ?? Math.min(most, 4096)
  if (!Number.isInteger(context) || context < 2 || context > most)
    throw new ForetokenError(
      'bad_argument',
      `context is ${wanted}; ${archive.name} takes a whole number from 2 to ${most}`,
    )
  return context
}

/** What the model is told of an engine's options. Throws `bad_argument`. */
export function modelOptions(options: EngineOptions, context: number): ModelOptions {
  const passTokens = options.passTokens ?? 256
  if (!Number.isInteger(passTokens) || passTokens < 1 || passTokens > 4096)
    throw new ForetokenError('bad_argument', `passTokens is ${passTokens}; it must be a whole number from 1 to 4,096`)
  return {
    passTokens: Math.min(passTokens, context),
    logitRows: 4,
    kv: options.kv ?? 'f32',
    ...(options.onProgress && { onProgress: options.onProgress }),
  }
}
