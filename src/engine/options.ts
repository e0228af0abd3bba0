/** What a caller may ask of an engine and of a request. */
import type { Backend } from '../backend/backend.ts'
import type { WasmOptions } from '../backend/wasm/backend.ts'
import type { ByteSource, ModelFiles } from '../base/bytes.ts'
import { fieldsOf, listOf, signalOf, textOf, withArguments } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import { type KvType, pageTokens } from '../base/kv.ts'
import type { ModelArchive } from '../base/model.ts'
import type { PromptInput } from '../base/prompt.ts'
import type { SamplingOptions } from '../decode/sampling.ts'
import type { SchedulerOptions } from '../decode/scheduler.ts'
import type { ModelOptions } from '../model/forward.ts'
import type { PrefillMode } from '../predict/choice.ts'
import type { PromptOptions } from '../tokens/prompt.ts'
import type { SpawnText } from '../tokens/text-messages.ts'

export interface EngineOptions extends Omit<WasmOptions, 'modules'> {
  /** Compiled modules of the Rust core. */
  readonly wasm: WasmOptions['modules']
  /** Runs the model in place of the Rust core; closed with the engine, also where loading fails. */
  readonly backend?: Backend
  /** How KV pages are stored. Default f32. */
  readonly kv?: KvType
  /** Tokens that one request may have, prompt and answer. Default: the model's, at most 4,096. */
  readonly context?: number
  /**
   * Keys of the model's configuration, and of the auxiliary model's, to read it without: for keys that are refused because they may change
   * the computation.
   */
  readonly ignoreConfig?: readonly string[]
  /** Tokens of K and V that all requests and cached prefixes share; memory grows as they are used. Default: twice the context. */
  readonly kvTokens?: number
  /**
   * Bytes of finished prefixes to keep for later requests, out of `kvTokens`; 0 keeps none. Default: half of it, but beyond 256 MiB
   * (or a whole context) memory grows for running requests only, and prefixes have what these leave.
   */
  readonly prefixBytes?: number
  /** How requests share the model. */
  readonly schedule?: Partial<SchedulerOptions>
  /** Tokens in a pass: more is a little faster, and takes more memory. Default 256. */
  readonly passTokens?: number
  /** A predictor file for this model, for requests whose `prefill` is not `exact`. */
  readonly predictor?: ByteSource
  /** Steps of K and V sent as residuals that were measured for the model, see transfer/steps.ts. Default: even ones. */
  readonly residualSteps?: ByteSource
  /** The smaller model whose states the predictor reads, where it is of the `separate` kind. */
  readonly auxiliary?: ModelFiles
  /** Which layers of `auxiliary` make that model. Default: as the predictor says, else all. */
  readonly auxiliaryLayers?: readonly number[]
  /**
   * Starts a worker for chat templates and tokenizing, so that `prepare` holds up nobody while it reads a long prompt or a template that
   * runs on. Default: these are done in pieces, between which the host goes on.
   */
  readonly spawnText?: SpawnText
  readonly onProgress?: (done: number, total: number) => void
  /** Stops loading: `load` rejects with `aborted`. */
  readonly signal?: AbortSignal
}

export interface PrefillRequest {
  readonly signal?: AbortSignal | undefined
  /** Prompt tokens done, and in all; called after every chunk. */
  readonly onPrefill?: ((done: number, total: number) => void) | undefined
}

export interface GenerateOptions extends SamplingOptions, PrefillRequest, PromptOptions {
  /** Default: what the context leaves. */
  readonly maxTokens?: number
  /** Strings that end the answer, not shown. */
  readonly stop?: readonly string[]
  /** Go on past the model's end-of-turn tokens. */
  readonly ignoreEos?: boolean
  /** Tokens that end the answer beside the model's own, not shown. At most 1,024. */
  readonly stopTokenIds?: readonly number[]
  /** No token that ends the answer is drawn before it has so many. Default 0. */
  readonly minTokens?: number
}

export interface GenerateRequest extends GenerateOptions {
  readonly prompt: PromptInput
  /** For whoever collects the results. */
  readonly id?: string
  /** Cached prefixes are shared among the requests of one tenant only, and tenants take turns. Default ''. */
  readonly tenant?: string
  /**
   * `exact` (the default); `predicted`: the first token early, from predicted K and V; `refined`: the same, and made exact while the
   * answer runs; `auto`: refined where the predictor is sure of the first token, else exact before anything is shown.
   */
  readonly prefill?: PrefillMode
  /**
   * Tokens of the answer that were shown before, by whatever engine of this model: it goes on behind them, with the same seed as if it
   * had made them. Events tell what is new, but `done` tells all; where nothing is left to make, it comes at once.
   */
  readonly after?: readonly number[]
}

export interface ManyOptions {
  /** Maximum number of requests in flight. Default 32. */
  readonly concurrency?: number
  readonly signal?: AbortSignal
}

/** An engine's options, read once. Throws `bad_argument`; ranges are checked by `settingsOf`. */
export function checkedOptions(given: EngineOptions): EngineOptions {
  const options = fieldsOf('the options', given)
  signalOf('signal', options.signal)
  if (options.schedule) fieldsOf('schedule', options.schedule)
  if (!options.backend) fieldsOf('wasm', options.wasm)
  return options
}

/** A request as it is taken on: its fields read once, those that are null as absent. Throws `bad_argument`; the rest is checked where it is used. */
export function checkedRequest(given: GenerateRequest): GenerateRequest {
  return withArguments('the request', () => {
    const request = fieldsOf('the request', given)
    const { signal, tenant, id, after, stop, stopTokenIds, logitBias, templateValues } = request
    signalOf('signal', signal)
    for (const [name, value] of Object.entries({ tenant, id })) if (value !== undefined) textOf(name, value)
    for (const [name, value] of Object.entries({ after, stop, stopTokenIds }))
      if (value !== undefined) listOf(name, value)
    for (const [name, value] of Object.entries({ logitBias, templateValues }))
      if (value !== undefined) fieldsOf(name, value)
    return request
  })
}

/** Everything that an engine's options leave to the model and the machine, decided. */
export interface Settings {
  readonly context: number
  /** Pages of K and V to have at most. */
  readonly pages: number
  /** Pages of finished prefixes to keep; undefined if the bytes say. */
  readonly prefixBytes: number | undefined
  readonly model: ModelOptions
  readonly schedule: SchedulerOptions
}

/** Tokens that a sequence may have unless the options say otherwise and the model takes as many. */
export const defaultContext = 4096

/** Throws `bad_argument`. */
export function settingsOf(archive: ModelArchive, options: EngineOptions, threads: number): Settings {
  const context = contextOf(archive, options.context)
  const passTokens = Math.min(whole('passTokens', options.passTokens ?? 256, 1, 4096), context)
  const schedule = scheduleOf(options.schedule ?? {}, threads)
  const { kv = 'f32' } = options
  if (!kvTypes.includes(kv)) throw new ForetokenError('bad_argument', `kv is ${kv}; it may be ${kvTypes.join(', ')}`)
  return {
    context,
    pages: Math.ceil(whole('kvTokens', options.kvTokens ?? 2 * context, context) / pageTokens),
    prefixBytes: options.prefixBytes === undefined ? undefined : whole('prefixBytes', options.prefixBytes, 0),
    model: {
      passTokens,
      // A running request has a step and a stretch of its cache that is refined in a pass, at most, and each lists the pages before it.
      pageEntries: Math.min(2 * schedule.maxRunning, passTokens) * Math.ceil(context / pageTokens),
      logitRows: 4,
      kv,
      signal: options.signal,
    },
    schedule,
  }
}

const kvTypes: readonly KvType[] = ['f32', 'f16', 'int8']

function contextOf(archive: ModelArchive, wanted: number | undefined): number {
  const most = archive.config.maxContext
  const context = wanted ?? Math.min(most, defaultContext)
  if (!Number.isInteger(context) || context < 2 || context > most)
    throw new ForetokenError(
      'bad_argument',
      `context is ${wanted}; ${archive.name} takes a whole number from 2 to ${most}`,
    )
  return context
}

function scheduleOf(wanted: Partial<SchedulerOptions>, threads: number): SchedulerOptions {
  const { order = 'shortest', stallMs = 100, refineMs = 30, aging = 0.25 } = wanted
  if (!['shortest', 'pack', 'arrival'].includes(order))
    throw new ForetokenError('bad_argument', `schedule.order is ${order}; it may be shortest, pack or arrival`)
  for (const [name, value] of Object.entries({ stallMs, refineMs, aging }))
    if (!(value >= 0 && value < Infinity))
      throw new ForetokenError('bad_argument', `schedule.${name} is ${value}; it must be a number from 0`)
  return {
    order,
    stallMs,
    refineMs,
    aging,
    chunk: whole('schedule.chunk', wanted.chunk ?? 128 * threads, 1),
    fullRows: whole('schedule.fullRows', wanted.fullRows ?? 32 * threads, 1),
    maxRunning: whole('schedule.maxRunning', wanted.maxRunning ?? 64, 1),
    maxWaiting: whole('schedule.maxWaiting', wanted.maxWaiting ?? 1024, 0),
  }
}

function whole(name: string, value: number, least: number, most = 2 ** 52): number {
  if (Number.isInteger(value) && value >= least && value <= most) return value
  const range = most === 2 ** 52 ? `from ${least}` : `from ${least} to ${most}`
  throw new ForetokenError('bad_argument', `${name} is ${value}; it must be a whole number ${range}`)
}
