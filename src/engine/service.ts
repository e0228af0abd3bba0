/**
 * Defines the one interface that takes requests and gives events. `Engine`, `OrtEngine` and
 * `Routed` implement it, so that an endpoint, a command line and a batch run over any of them.
 */
import type { Backend } from '../backend/backend.ts'
import type { ForetokenError } from '../base/errors.ts'
import type { ModelArchive } from '../base/model.ts'
import type { PreparedPrompt, PromptInput } from '../base/prompt.ts'
import type { SchedulerStats } from '../decode/scheduler.ts'
import type { Prediction } from '../predict/choice.ts'
import type { DoneEvent, GenerateEvent } from '../stream/events.ts'
import type { PromptOptions } from '../tokens/prompt.ts'
import type { Tokenizer } from '../tokens/tokenizer.ts'
import type { Embeddings, EmbedInput, EmbedOptions } from './embed.ts'
import type { PrepareOptions } from './guides.ts'
import type { GenerateOptions, GenerateRequest, ManyOptions } from './options.ts'
import type { Ranking, RerankOptions } from './rerank.ts'

/** Where a prompt is read and its answer is generated: here, or with the help of a companion. */
export type Way = (typeof allWays)[number]

export const allWays = ['local', 'remote', 'relay', 'race'] as const

/** Reports which way a request took, and the expected times to the first token, in milliseconds. */
export interface RouteReport {
  readonly way: Way
  /** The companion's name; absent for `local`. */
  readonly companion?: string
  readonly predicted_ms: number
  /** The measured time, without pauses of the answer's reader. Absent before the first token. */
  readonly actual_ms?: number
  /** The expected time of each way that was possible. */
  readonly considered: Readonly<Partial<Record<Way, number>>>
  /** Why the companion's part was abandoned. The answer is complete nevertheless. */
  readonly fell_back?: string
}

/**
 * An answer, whose events one reader reads in order. It holds a place, and perhaps pages and a
 * companion, until it has been read to its last event, its reader leaves, it is cancelled, or the
 * request's signal aborts.
 */
export interface Answer extends AsyncIterable<GenerateEvent> {
  /** The request's `id`. */
  readonly id: string | undefined
  /** How the prompt has been read so far; final once the first token has been read. */
  readonly soFar: Pick<DoneEvent, 'cached_tokens' | 'placed_tokens' | 'prefill' | 'timings' | 'exact_from'>
  /** The way that the answer takes; undefined where there was no choice. */
  readonly route?: RouteReport
  /**
   * Reads the events: one `prompt`, a `token` for each token, one `done`. A second reader gets the
   * events that the first has not read. Leaving the loop early cancels the request. Rejects with
   * the request's failure, and with `aborted`.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<GenerateEvent>
  /** Reads all events and resolves with the last one. */
  result(): Promise<DoneEvent>
  /** Ends the request and frees what it holds. May be called at any time, and twice. */
  cancel(): void
}

/**
 * How one request ended: its `index` in the order of the source, and either a result or an error.
 */
export type Outcome = { readonly index: number; readonly id?: string } & (
  | { readonly result: DoneEvent; readonly error?: undefined }
  | { readonly error: ForetokenError; readonly result?: undefined }
)

/** Takes requests and gives events. */
export interface TextService {
  readonly archive: ModelArchive
  readonly tokenizer: Tokenizer
  /** Maximum number of tokens in a prompt and its answer together. */
  readonly context: number
  /** How long loading took, in milliseconds. */
  readonly loadMs: number
  /** Predicts prompts; undefined without a predictor. */
  readonly prediction: Prediction | undefined
  /**
   * `memory` lists the uses of the core's memory; absent if the model does not run in a Rust core.
   */
  readonly backend: Pick<Backend, 'build' | 'memoryBytes'> & Partial<Pick<Backend, 'memory'>>
  readonly stats: SchedulerStats
  /** False if the model makes embeddings only. Default true. */
  readonly answers?: boolean
  /**
   * Returns the token ids of a prompt. Throws `empty_prompt`, `context_exceeded`, `bad_argument`,
   * and the errors of the template.
   */
  promptIds(prompt: PromptInput, options?: PromptOptions & { onTemplate?: () => void }): number[]
  /**
   * Makes token ids of a prompt without blocking the host, for any number of requests; TTFT counts
   * from this call. Compiles its guide, if it has one. Rejects with what `promptIds` and the guide
   * throw, with `busy` when too many long prompts wait, and with `aborted`.
   */
  prepare(prompt: PromptInput, options?: PrepareOptions): Promise<PreparedPrompt>
  /**
   * Answers a prompt or a whole request, event by event. The request is submitted on the first
   * `next()`, not before.
   */
  generate(prompt: PromptInput | GenerateRequest, options?: GenerateOptions): AsyncGenerator<GenerateEvent>
  /**
   * Answers many requests, `concurrency` (default 32) at a time, and yields each outcome as soon as
   * it is known, in any order. Requests are pulled from the source one by one, the first on the
   * first `next()`. Leaving the loop cancels those in flight.
   */
  generateMany(
    requests: Iterable<GenerateRequest> | AsyncIterable<GenerateRequest>,
    options?: ManyOptions,
  ): AsyncGenerator<Outcome>
  /**
   * Submits a request at once. An engine gives it its place in the queue with this call; a routed
   * service decides its way, and passes some options on later, so that their failures come with the
   * events. The answer is computed while a caller reads an answer of this engine. Throws
   * `empty_prompt`, `context_exceeded`, `bad_argument`, `busy` when too many wait, and `aborted`
   * after `close`.
   */
  submit(request: GenerateRequest): Answer
  /** Makes an embedding of each text; absent if the service makes none. Rejects as `Engine.embed`. */
  embed?(texts: EmbedInput, options?: EmbedOptions): Promise<Embeddings>
  /** Scores documents by a query; absent if the service ranks none. Rejects as `Engine.rerank`. */
  rerank?(query: string, documents: readonly string[], options?: RerankOptions): Promise<Ranking>
  /** Computes marked chunks that wait to be kept; absent if the service keeps none. As `Engine.keepChunks`. */
  keepChunks?(): Promise<void>
  /** Ends all requests as `aborted` and frees everything. May be called twice. */
  close(): Promise<void>
}

/** The older name of `TextService`. */
export type AnyEngine = TextService

/** The older name of `Answer`. */
export type AnyAnswer = Answer

const properties = ['archive', 'tokenizer', 'context', 'loadMs', 'backend', 'stats'] as const
const methods = ['submit', 'promptIds', 'close'] as const

/**
 * Returns true if `value` has the members that an endpoint needs. `instanceof` would not work,
 * since each bundle of the package has its own classes.
 */
export function isAnyEngine(value: unknown): value is AnyEngine {
  if (typeof value !== 'object' || value === null) return false
  const fields = value as Readonly<Record<string, unknown>>
  try {
    return (
      properties.every((name) => fields[name] !== undefined) &&
      methods.every((name) => typeof fields[name] === 'function')
    )
  } catch {
    // An object with a getter that throws is not an engine.
    return false
  }
}
