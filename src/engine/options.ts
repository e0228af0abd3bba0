/** Defines and checks the options of an engine and of a request. */

import type { Backend } from '../backend/backend.ts'
import type { WasmOptions } from '../backend/wasm/backend.ts'
import type { ByteSource, ModelFiles } from '../base/bytes.ts'
import { fieldsOf, oneOf, signalOf, textOf, withArguments, wrong } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import {
  anyNumber,
  type Check,
  type Checks,
  callable,
  checkedFields,
  flag,
  listWith,
  nameOf,
  needed,
  numberFrom,
  texts,
  wholeFrom,
  withMethods,
} from '../base/fields.ts'
import { type Guide, guideKinds } from '../base/guide.ts'
import { type KvType, pageTokens } from '../base/kv.ts'
import type { ModelArchive } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import type { PromptInput, TokenRange } from '../base/prompt.ts'
import type { OpenGuides } from '../decode/guide.ts'
import { type SamplingOptions, samplingChecks } from '../decode/sampling-options.ts'
import type { SchedulerOptions } from '../decode/scheduler.ts'
import { specOf } from '../model/families/index.ts'
import { ignoredKeysOf } from '../model/ignored-keys.ts'
import { seesBothWays } from '../model/layer.ts'
import type { ModelOptions } from '../model/model-options.ts'
import { checkedSource } from '../model/source.ts'
import { type PrefillMode, prefillModes } from '../predict/choice.ts'
import { promptOf } from '../tokens/checked-prompt.ts'
import { type PromptOptions, promptChecks } from '../tokens/prompt.ts'
import { chunksOf } from '../tokens/prompts.ts'
import type { SpawnText } from '../tokens/text-messages.ts'

export interface EngineOptions extends Omit<WasmOptions, 'modules'> {
  /** Compiled modules of the Rust core. */
  readonly wasm: WasmOptions['modules']
  /**
   * Runs the model instead of the Rust core. It is closed with the engine, and if loading fails.
   */
  readonly backend?: Backend
  /** How KV pages store K and V. Default f32. */
  readonly kv?: KvType
  /**
   * Maximum number of tokens in a prompt and its answer together. Default: the model's, at most
   * 4,096.
   */
  readonly context?: number
  /**
   * Keys to ignore in the configuration of the model and of the auxiliary model. For keys that are
   * refused because they may change the computation.
   */
  readonly ignoreConfig?: readonly string[]
  /**
   * Number of tokens of K and V that all requests and cached prefixes share. Memory grows with
   * their use. Default: twice the context.
   */
  readonly kvTokens?: number
  /**
   * Size of finished prefixes to keep for later requests, in bytes, out of `kvTokens`; 0 keeps
   * none. Default: half of it, but beyond 256 MiB (or a whole context) memory grows for running
   * requests only, and prefixes use the pages that these leave.
   */
  readonly prefixBytes?: number
  /**
   * Size of the K and V of marked chunks to keep for later requests, in bytes, beside `kvTokens`; 0
   * keeps none. They take memory when the first is kept. Default 256 MiB.
   */
  readonly chunkBytes?: number
  /** How requests share the model. */
  readonly schedule?: Partial<SchedulerOptions>
  /**
   * Maximum number of tokens in a pass. More is a little faster, and takes more memory. Default
   * 256.
   */
  readonly passTokens?: number
  /** A predictor file for this model, for requests whose `prefill` is not `exact`. */
  readonly predictor?: ByteSource
  /**
   * Measured quantiser steps for K and V that are sent as residuals, see transfer/steps.ts.
   * Default: even steps.
   */
  readonly residualSteps?: ByteSource
  /**
   * The smaller model whose states the predictor reads. Only a predictor of the `separate` kind has
   * one.
   */
  readonly auxiliary?: ModelFiles
  /**
   * The layers of `auxiliary` that make that model. Default: those that the predictor names, else
   * all.
   */
  readonly auxiliaryLayers?: readonly number[]
  /**
   * Starts a worker for chat templates and tokenizing, so that a long prompt or a template that
   * runs on does not block the host. Default: both are done in steps, and the host's event loop
   * runs between them.
   */
  readonly spawnText?: SpawnText
  /**
   * Loads the grammar engine, at the first request with a `guide`; `openGuides` makes what it resolves
   * with. Default: guides are `unsupported`.
   */
  readonly guides?: (() => Promise<OpenGuides>) | undefined
  /**
   * Called with the model's header before its weights are read. What it throws ends the loading: a
   * program refuses a model that it has no use for.
   */
  readonly onOpen?: ((archive: ModelArchive) => void) | undefined
  /** Called with the number of bytes of weights read, and of all. */
  readonly onProgress?: (done: number, total: number) => void
  /** Stops loading when it aborts: `load` rejects with `aborted`. */
  readonly signal?: AbortSignal
}

export interface PrefillRequest {
  readonly signal?: AbortSignal | undefined
  /** Called after every chunk, with the number of prompt tokens read, and of all. */
  readonly onPrefill?: ((done: number, total: number) => void) | undefined
}

export interface GenerateOptions extends SamplingOptions, PrefillRequest, PromptOptions {
  /** Maximum number of tokens in the answer. Default: what the context leaves. */
  readonly maxTokens?: number
  /** Strings that end the answer. They are not shown. */
  readonly stop?: readonly string[]
  /** Continues past the model's end-of-turn tokens. Default false. */
  readonly ignoreEos?: boolean
  /**
   * Ids of tokens that end the answer, in addition to the model's own. They are not shown. At most
   * 1,024.
   */
  readonly stopTokenIds?: readonly number[]
  /**
   * Ids of special tokens whose text is part of the answer, such as those around a call of a tool.
   * `planAnswer` finds them.
   */
  readonly showSpecial?: readonly number[]
  /** Number of tokens before which no token that ends the answer is drawn. Default 0. */
  readonly minTokens?: number
  /**
   * The shape of the answer: tokens that do not fit it are never drawn, those that it forces are
   * appended without drawing, and the answer ends with `stop` when it is complete. Needs an engine
   * that was loaded with `guides`.
   */
  readonly guide?: Guide | undefined
}

export interface GenerateRequest extends GenerateOptions {
  readonly prompt: PromptInput
  /** The caller's name for the request; answers and outcomes repeat it. */
  readonly id?: string
  /** Requests of one tenant share cached prefixes, and tenants take turns. Default ''. */
  readonly tenant?: string
  /**
   * Ranges of the tokens of `prompt` that come again in other prompts; default: the parts of its
   * messages with `chunk: true`. With `auto`, besides these, its paragraphs of 24 tokens and more: texts
   * between empty lines, but for the last one. They are kept when they come a second time where no cached prefix has them. With a `prefill` other than `exact`, chunks that earlier requests
   * brought are not computed: their K and V are placed, and what `prefill` says of predictions holds
   * for them. New ones are computed once more, alone, and kept for later requests of the tenant.
   */
  readonly chunks?: 'auto' | readonly TokenRange[]
  /**
   * How the prompt is read. `exact` is the default, or `refined` if chunks are marked, none of which
   * is then predicted. `predicted`: K and V are predicted, and the
   * first token comes early. `refined`: the same, and they are made exact while the answer runs.
   * `auto`: `refined` if the predictor is sure of the first token, else exact before anything is
   * shown.
   */
  readonly prefill?: PrefillMode
  /**
   * Corrects an answer of `refined` or `auto` whose tokens are not all those that exact K and V give.
   * Such an answer has a `correction` event, after which its tokens come anew from the first that
   * was wrong. Default false: `verified` of the last event tells where that is.
   */
  readonly verify?: boolean
  /**
   * Ids of answer tokens that were shown before, by any engine of this model. The answer continues
   * after them, and draws the same numbers as if it had made them. Token events come for new tokens
   * only; `done` has all of them, and comes at once if they complete the answer.
   */
  readonly after?: readonly number[]
}

export interface ManyOptions {
  /** Maximum number of requests in flight. Default 32. */
  readonly concurrency?: number
  readonly signal?: AbortSignal
}

const aSignal: Check<AbortSignal> = (name, value) => signalOf(name, value) as AbortSignal
const orders: readonly SchedulerOptions['order'][] = ['shortest', 'pack', 'arrival']
const kvTypes: readonly KvType[] = ['f32', 'f16', 'int8']

/** The checks of `EngineOptions.schedule`. */
export const scheduleChecks: Checks<Partial<SchedulerOptions>> = {
  order: nameOf(orders),
  stallMs: numberFrom(0),
  refineMs: numberFrom(0),
  aging: numberFrom(0),
  chunk: wholeFrom(1),
  fullRows: wholeFrom(1),
  maxRunning: wholeFrom(1),
  maxWaiting: wholeFrom(0),
}

/** The checks of an engine's options; `settingsOf` checks what depends on the model. */
export const engineChecks: Checks<EngineOptions> = {
  // Checked by `checkedOptions`, since another backend needs none.
  wasm: needed((_, value) => value as WasmOptions['modules']),
  build: nameOf(['auto', 'relaxed', 'simd128']),
  attention: nameOf(['auto', 'float', 'int']),
  threads: wholeFrom(1, 64),
  spawn: callable(),
  room: callable(),
  backend: withMethods<Backend>('close', 'prepare', 'tensor', 'weight', 'kvPool', 'memoryBytes'),
  kv: nameOf(kvTypes),
  context: wholeFrom(2),
  ignoreConfig: (_, value) => [...ignoredKeysOf(value as readonly string[])],
  kvTokens: wholeFrom(1),
  prefixBytes: wholeFrom(0),
  chunkBytes: wholeFrom(0),
  schedule: (name, value) => checkedFields(name, value, scheduleChecks),
  passTokens: wholeFrom(1, 4096),
  predictor: (name, value) => checkedSource(name, value as ByteSource),
  residualSteps: (name, value) => checkedSource(name, value as ByteSource),
  auxiliary: withMethods<ModelFiles>('open'),
  auxiliaryLayers: listWith(wholeFrom(0)),
  spawnText: callable(),
  guides: callable(),
  onOpen: callable(),
  onProgress: callable(),
  signal: aSignal,
}

/** The checks of the options of `Engine.prefill`. */
export const prefillChecks: Checks<PrefillRequest> = { signal: aSignal, onPrefill: callable() }

/** The checks of a request; what depends on the model is checked where it is used. */
export const requestChecks: Checks<GenerateRequest> = {
  ...samplingChecks,
  ...promptChecks,
  ...prefillChecks,
  prompt: needed(promptOf),
  maxTokens: wholeFrom(0, Number.POSITIVE_INFINITY),
  stop: texts,
  ignoreEos: flag,
  stopTokenIds: listWith(anyNumber),
  showSpecial: listWith(wholeFrom(0)),
  minTokens: wholeFrom(0, Number.POSITIVE_INFINITY),
  guide: (name, value) => {
    const guide = fieldsOf(name, value as Guide)
    oneOf(`${name}.kind`, guide.kind, guideKinds)
    return guide
  },
  id: textOf,
  tenant: textOf,
  chunks: chunksOf,
  prefill: nameOf(prefillModes),
  verify: flag,
  after: listWith(anyNumber),
}

/** The checks of the options of `generateMany`. */
export const manyChecks: Checks<ManyOptions> = {
  concurrency: numberFrom(1, Number.POSITIVE_INFINITY),
  signal: aSignal,
}

/** Reads an engine's options once. Throws `bad_argument`; `settingsOf` checks the ranges. */
export function checkedOptions(wanted: EngineOptions): EngineOptions {
  const options = checkedFields('the options', wanted, engineChecks)
  if (!options.backend) fieldsOf('wasm', options.wasm)
  return options
}

/**
 * Reads the fields of a request once; null counts as absent. Throws `bad_argument`. What depends on
 * the model is checked where it is used.
 */
export function checkedRequest(unchecked: GenerateRequest): GenerateRequest {
  return withArguments('the request', () => checkedFields('the request', unchecked, requestChecks))
}

/** The settings of an engine: its options, with defaults from the model and the machine. */
export interface Settings {
  readonly context: number
  /** Maximum number of pages of K and V. */
  readonly pages: number
  /** Size of finished prefixes to keep, in bytes; undefined for the default. */
  readonly prefixBytes: number | undefined
  readonly chunkBytes: number
  readonly model: ModelOptions
  readonly schedule: SchedulerOptions
}

/** The default of `chunkBytes`. */
const defaultChunkBytes = 256 << 20

/** The default of `context` for models that support as many tokens. */
export const defaultContext = 4096

/**
 * Returns the number of pages up to which idle prefixes may make memory grow: 256 MiB, or a whole
 * context if that is more, but at most half of the pages. Beyond it memory grows for running
 * requests only, and prefixes use the pages that these leave, so the memory of a server follows its
 * current load.
 */
export function pagesBeforeEvicting(pages: number, context: number, pageBytes: number): number {
  return Math.min(pages >> 1, Math.max(Math.ceil(context / pageTokens), Math.floor((256 << 20) / pageBytes)))
}

/** Completes and checks an engine's options. Throws `bad_argument`. */
export function settingsOf(archive: ModelArchive, options: EngineOptions, threads: number): Settings {
  const context = contextOf(archive, options.context)
  // A text that sees both ways is read in one pass, whatever its length.
  const whole = seesBothWays(specOf(archive.config))
  const passTokens = whole ? context : Math.min(options.passTokens ?? 256, context)
  const schedule = scheduleOf(options.schedule ?? {}, threads)
  const { kv = 'f32' } = options
  const pages = Math.ceil(wholeFrom(context)('kvTokens', options.kvTokens ?? 2 * context) / pageTokens)
  if (options.attention === 'int') checkIntegers(archive, kv, options.backend)
  return {
    context,
    pages,
    prefixBytes: options.prefixBytes,
    chunkBytes: options.chunkBytes ?? defaultChunkBytes,
    model: {
      passTokens,
      // In a pass a running request has at most a step and a refined range of its cache, and each
      // lists the pages before it.
      pageEntries: Math.min(2 * schedule.maxRunning, passTokens) * Math.ceil(context / pageTokens),
      logitRows: 4,
      kv,
      // A first prompt of one pass.
      firstPages: Math.min(pages, Math.ceil(passTokens / pageTokens)),
      signal: options.signal,
    },
    schedule,
  }
}

/** Throws `unsupported` if attention in integers cannot be computed; see `WasmOptions.attention`. */
function checkIntegers({ config }: ModelArchive, kv: KvType, backend: Backend | undefined): void {
  const reason = backend
    ? 'the model runs on another backend'
    : kv !== 'int8'
      ? `it reads int8 pages and kv is ${kv}; add kv 'int8'`
      : config.headDim % 32 !== 0 &&
        `it takes 32 dimensions at a time and the heads of this model have ${config.headDim}`
  if (!reason) return
  throw new ForetokenError('unsupported', `attention in integers is not possible: ${reason}, or use attention 'float'`)
}

/** Returns the tokens of a context. Throws `bad_argument` for more than the model reads. */
export function contextOf({ name, config }: Pick<ModelArchive, 'name' | 'config'>, wanted: number | undefined): number {
  const most = config.maxContext
  const context = wanted ?? Math.min(most, defaultContext)
  if (!isWhole(context, 2, most)) throw wrong('context', `a whole number from 2 to ${most} for ${name}`, wanted)
  return context
}

function scheduleOf(wanted: Partial<SchedulerOptions>, threads: number): SchedulerOptions {
  const { order = 'shortest', stallMs = 100, refineMs = 30, aging = 0.25 } = wanted
  return {
    order,
    stallMs,
    refineMs,
    aging,
    chunk: wanted.chunk ?? 128 * threads,
    fullRows: wanted.fullRows ?? 32 * threads,
    maxRunning: wanted.maxRunning ?? 64,
    maxWaiting: wanted.maxWaiting ?? 1024,
  }
}
