/** What a caller may ask of an engine and of a request. */
import type { WasmOptions } from './backend/wasm.ts'
import type { SamplingOptions } from './decode/sampling.ts'
import type { SchedulerOptions } from './decode/scheduler.ts'
import { ForetokenError } from './errors.ts'
import type { ModelOptions } from './model/llama.ts'
import { type KvType, type Message, type ModelArchive, pageTokens } from './types.ts'

export interface EngineOptions extends Omit<WasmOptions, 'modules'> {
  /** Compiled modules of the Rust core. */
  readonly wasm: WasmOptions['modules']
  /** How KV pages are stored. Default f32. */
  readonly kv?: KvType
  /** Tokens that one request may have, prompt and answer. Default: the model's, at most 4,096. */
  readonly context?: number
  /** Tokens of K and V that all requests and cached prefixes share; memory grows as they are used. Default: twice the context. */
  readonly kvTokens?: number
  /** Bytes of finished prefixes to keep for later requests, out of `kvTokens`; 0 keeps none. Default: half of it. */
  readonly prefixBytes?: number
  /** How requests share the model. */
  readonly schedule?: Partial<SchedulerOptions>
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

export interface GenerateRequest extends GenerateOptions {
  /** One user message (text to continue with `raw`), or a conversation. */
  readonly prompt: string | readonly Message[]
  /** For whoever collects the results. */
  readonly id?: string
  /** Cached prefixes are shared among the requests of one tenant only. Default ''. */
  readonly tenant?: string
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

/** Pages of K and V to have at most. Throws `bad_argument`. */
export function pagesOf(options: EngineOptions, context: number): number {
  const tokens = options.kvTokens ?? 2 * context
  if (!Number.isInteger(tokens) || tokens < context)
    throw new ForetokenError(
      'bad_argument',
      `kvTokens is ${tokens}; it must be a whole number, and hold at least one context of ${context} tokens`,
    )
  return Math.ceil(tokens / pageTokens)
}

/** How requests share a model that `threads` threads run. Throws `bad_argument`. */
export function schedulerOptions(options: EngineOptions, threads: number): SchedulerOptions {
  const schedule: SchedulerOptions = {
    order: 'shortest',
    fullRows: 32 * threads,
    stallMs: 100,
    aging: 0.25,
    maxRunning: 64,
    maxWaiting: 1024,
    ...options.schedule,
  }
  const least = { fullRows: 1, stallMs: 0, aging: 0, maxRunning: 1, maxWaiting: 0 }
  for (const [name, bound] of Object.entries(least) as [keyof typeof least, number][])
    if (!(schedule[name] >= bound) || !Number.isFinite(schedule[name]))
      throw new ForetokenError('bad_argument', `schedule.${name} is ${schedule[name]}; it must be at least ${bound}`)
  return schedule
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
