/**
 * The data path, in order:
 *
 *     request -> template -> token ids -> pack -> prefill -> KV cache -> decode -> stream
 */
import { Answer } from './answer.ts'
import type { Backend } from './backend/backend.ts'
import { createWasmBackend } from './backend/wasm.ts'
import { Scheduler, type SchedulerStats } from './decode/scheduler.ts'
import { scoreTokens } from './decode/score.ts'
import { Session } from './decode/session.ts'
import { PagedCache } from './kv/paged.ts'
import { PrefixIndex } from './kv/prefix.ts'
import { type ManyOptions, type Outcome, submitMany } from './many.ts'
import { Llama } from './model/llama.ts'
import { openModel } from './model/open.ts'
import {
  contextOf,
  type EngineOptions,
  type GenerateOptions,
  type GenerateRequest,
  modelOptions,
  type PrefillRequest,
  pagesOf,
  schedulerOptions,
} from './options.ts'
import { pack } from './pack/pack.ts'
import { ExactPrefill } from './prefill/exact.ts'
import type { GenerateEvent } from './stream/events.ts'
import { Submission } from './submission.ts'
import { promptIds } from './tokens/prompt.ts'
import { createTokenizer, type Tokenizer } from './tokens/tokenizer.ts'
import { Trace } from './trace.ts'
import type { Message, ModelArchive, ModelFiles } from './types.ts'

export class Engine {
  readonly archive: ModelArchive
  readonly context: number
  readonly tokenizer: Tokenizer
  readonly backend: Backend
  readonly #model: Llama
  readonly #cache: PagedCache
  readonly #prefixes: PrefixIndex
  readonly #scheduler: Scheduler
  readonly #prefill: ExactPrefill
  readonly #loadMs: number

  /** Opens a model and streams its weights into the core. Throws `bad_model`, `unsupported`, `out_of_memory`. */
  static async load(files: ModelFiles, options: EngineOptions): Promise<Engine> {
    const begun = performance.now()
    const archive = await openModel(files)
    const backend = await createWasmBackend({ ...options, modules: options.wasm })
    try {
      const context = contextOf(archive, options.context)
      const model = await Llama.load(backend, archive, modelOptions(options, context))
      return new Engine(archive, backend, model, context, options, begun)
    } catch (error) {
      await backend.close()
      throw error
    }
  }

  private constructor(
    archive: ModelArchive,
    backend: Backend,
    model: Llama,
    context: number,
    options: EngineOptions,
    begun: number,
  ) {
    this.archive = archive
    this.backend = backend
    this.context = context
    this.tokenizer = createTokenizer(archive.tokenizer)
    this.#model = model
    const pages = pagesOf(options, context)
    this.#cache = new PagedCache(model.pool, pages, context)
    this.#prefixes = new PrefixIndex(this.#cache, options.prefixBytes ?? (pages >> 1) * model.pool.pageBytes)
    this.#scheduler = new Scheduler(model, this.#cache, this.#prefixes, schedulerOptions(options, backend.threads))
    this.#prefill = new ExactPrefill(model)
    this.#loadMs = performance.now() - begun
  }

  /** Answers a prompt (one user message, or text to continue with `raw`) or a conversation, token by token. */
  async *generate(prompt: string | readonly Message[], options: GenerateOptions = {}): AsyncGenerator<GenerateEvent> {
    yield* this.submit({ ...options, prompt })
  }

  /**
   * Takes a request on, to share passes with all others. Computing happens while somebody reads any of them. Throws
   * `empty_prompt`, `context_exceeded`, `bad_argument`, and `busy` when too many wait.
   */
  submit(request: GenerateRequest): Submission {
    const trace = new Trace()
    const ids = this.promptIds(request.prompt, request)
    trace.mark('tokenized')
    const controller = new AbortController()
    const { signal } = request
    const answer = new Answer(ids, request.tenant ?? '', request, {
      tokenizer: this.tokenizer,
      eosIds: this.archive.tokenizer.eosIds,
      context: this.context,
      trace,
      signal: signal ? AbortSignal.any([signal, controller.signal]) : controller.signal,
      finish: (promptTokens, tokens) => ({
        timings: trace.timings(this.#loadMs, promptTokens, tokens),
        memory: { wasm_bytes: this.backend.memoryBytes() },
        build: this.backend.build,
      }),
    })
    this.#scheduler.add(answer)
    return new Submission(request.id, answer, this.#scheduler, controller)
  }

  /** Answers many requests, `concurrency` (default 32) at once; yields each outcome as it comes, in any order. */
  generateMany(
    requests: Iterable<GenerateRequest> | AsyncIterable<GenerateRequest>,
    options: ManyOptions = {},
  ): AsyncGenerator<Outcome> {
    return submitMany(requests, (request) => this.submit(request), options)
  }

  get stats(): SchedulerStats {
    return this.#scheduler.stats
  }

  /** The ids a prompt becomes: templated unless `raw`. Throws `empty_prompt`, `context_exceeded`. */
  promptIds(prompt: string | readonly Message[], options: { raw?: boolean } = {}): number[] {
    return promptIds(this.tokenizer, this.archive.tokenizer, prompt, {
      raw: options.raw ?? false,
      context: this.context,
    })
  }

  /** Puts `ids` into a cache of their own. The caller releases the session. */
  async prefill(ids: readonly number[], options: PrefillRequest = {}): Promise<Session> {
    const sequence = this.#cache.open()
    try {
      const { signal, onPrefill: onProgress } = options
      return new Session(this.#model, sequence, await this.#prefill.run(sequence, ids, { signal, onProgress }))
    } catch (error) {
      sequence.release()
      throw error
    }
  }

  /** Log-probability of each of `ids` after those before it, (ids.length - 1). */
  async score(ids: readonly number[]): Promise<Float64Array> {
    return this.#cache.borrow((sequence) => scoreTokens(this.#model, sequence, ids))
  }

  /** Logits after each of `ids`, (ids, vocab). At most one pass of tokens; `vocab` x 4 bytes each. */
  async logits(ids: readonly number[]): Promise<Float32Array> {
    return this.#cache.borrow((sequence) => this.#model.forward(pack([{ sequence, ids, outputs: 'all' }])))
  }

  tokenize(text: string, options: { special?: boolean } = {}): number[] {
    return this.tokenizer.encode(text, options)
  }

  async close(): Promise<void> {
    await this.backend.close()
  }
}
