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
import { ForetokenError } from './errors.ts'
import { PagedCache } from './kv/paged.ts'
import { PrefixIndex } from './kv/prefix.ts'
import type { KvIdentity } from './kv/wire.ts'
import { type ExpectedKv, type ExpectOptions, KvReceiver } from './kv-receiver.ts'
import { type KvOptions, KvSender } from './kv-sender.ts'
import { type ManyOptions, type Outcome, submitMany } from './many.ts'
import { kvIdentityOf } from './model/kv-identity.ts'
import type { Llama } from './model/llama.ts'
import { openModel } from './model/open.ts'
import type { PredictorHeader } from './model/predictor-plan.ts'
import { firstInexact } from './model/residual-steps.ts'
import {
  defaultContext,
  type EngineOptions,
  type GenerateOptions,
  type GenerateRequest,
  type PrefillRequest,
  type Settings,
  settingsOf,
} from './options.ts'
import { pack } from './pack/pack.ts'
import { loadParts, type Parts } from './parts.ts'
import { Prediction } from './prefill/choice.ts'
import { ExactPrefill } from './prefill/exact.ts'
import { type LoadedPrefix, SavedPrefixes } from './saved-prefix.ts'
import type { GenerateEvent } from './stream/events.ts'
import { Submission } from './submission.ts'
import { openingIds } from './tokens/opening.ts'
import type { PromptOptions } from './tokens/prompt.ts'
import { type PrepareOptions, Prompts } from './tokens/prompts.ts'
import { createTokenizer, type Tokenizer } from './tokens/tokenizer.ts'
import {
  type KvType,
  type Message,
  type ModelArchive,
  type ModelFiles,
  type PreparedPrompt,
  type PromptInput,
  pageTokens,
} from './types.ts'
import { Workbench } from './workbench.ts'

export class Engine {
  readonly archive: ModelArchive
  readonly context: number
  readonly tokenizer: Tokenizer
  readonly backend: Backend
  readonly #model: Llama
  readonly #cache: PagedCache
  readonly #scheduler: Scheduler
  readonly #prefill: ExactPrefill
  readonly #prompts: Prompts
  /** For who makes and judges predictors. */
  readonly workbench: Workbench
  /** How prompts are predicted; undefined without a predictor. */
  readonly prediction: Prediction | undefined
  readonly #saved: SavedPrefixes
  readonly #sender: KvSender
  readonly #receiver: KvReceiver
  readonly #predictorHash: string | undefined
  #kvIdentity: Promise<KvIdentity> | undefined
  readonly #closing = new AbortController()
  readonly loadMs: number
  /** How pages hold K and V. */
  readonly kvType: KvType
  /** Tells these weights from others of the same shape, hex. */
  readonly identity: string
  /** What the predictor says of itself; undefined if the engine has none. */
  readonly predictor: PredictorHeader | undefined

  /** Opens a model and streams its weights into the core. Throws `bad_model`, `unsupported`, `out_of_memory`. */
  static async load(files: ModelFiles, options: EngineOptions): Promise<Engine> {
    const begun = performance.now()
    let backend = options.backend
    try {
      const archive = await openModel(files, { context: options.context ?? defaultContext })
      // Before the weights: what it leaves to the garbage collector is gone when memory gets tight.
      const tokenizer = createTokenizer(archive.tokenizer)
      if (backend && options.attention === 'int')
        throw new ForetokenError('unsupported', 'attention int is of the Rust core: leave it out, or the backend')
      backend ??= await createWasmBackend({ ...options, modules: options.wasm })
      const settings = settingsOf(archive, options, backend.threads)
      const parts = await loadParts(archive, backend, settings, options)
      const prompts = new Prompts(tokenizer, archive.tokenizer, settings.context, options.spawnText)
      return new Engine(archive, { tokenizer, prompts }, backend, parts, settings, begun)
    } catch (error) {
      await backend?.close()
      throw error
    }
  }

  private constructor(
    archive: ModelArchive,
    { tokenizer, prompts }: { readonly tokenizer: Tokenizer; readonly prompts: Prompts },
    backend: Backend,
    { model, auxiliary, predicting, residuals }: Parts,
    settings: Settings,
    begun: number,
  ) {
    const { context, pages, prefixBytes = (pages >> 1) * model.pool.pageBytes, schedule } = settings
    this.archive = archive
    this.backend = backend
    this.context = context
    this.tokenizer = tokenizer
    this.#prompts = prompts
    this.#model = model
    this.kvType = settings.model.kv
    this.#cache = new PagedCache(model.pool, pages, context)
    if (settings.prefixBytes === undefined)
      this.#cache.growsTo = pagesBeforeEvicting(pages, context, model.pool.pageBytes)
    const prefixes = new PrefixIndex(this.#cache, prefixBytes)
    this.identity = model.identity
    this.predictor = predicting?.predictor.header
    const forward = predicting ?? model
    this.prediction = this.predictor && new Prediction(this.predictor, auxiliary?.model.config)
    this.#scheduler = new Scheduler(forward, this.#cache, prefixes, schedule, this.prediction)
    this.#prefill = new ExactPrefill(model)
    const binding = { model: archive.name, fingerprint: model.identity, vocab: archive.config.vocab, pool: model.pool }
    this.#saved = new SavedPrefixes(this.#cache, prefixes, this.#prefill, binding)
    const ahead = this.prediction && { forward, prediction: this.prediction, cache: this.#cache }
    this.#predictorHash = residuals?.sha256
    const plan = this.predictor?.plan
    const correcting = ahead && { ...ahead, steps: residuals!.steps, firstLayer: firstInexact(plan!) }
    const parts = { model, auxiliary, cache: this.#cache, backend }
    this.workbench = new Workbench(parts, forward, this.prediction, correcting)
    this.#sender = new KvSender(this.#scheduler, this.#cache, prefixes, backend, correcting)
    this.#receiver = new KvReceiver(this.#cache, prefixes, backend, ahead)
    this.loadMs = performance.now() - begun
  }

  /** Answers a prompt, token by token. */
  async *generate(prompt: PromptInput, options: GenerateOptions = {}): AsyncGenerator<GenerateEvent> {
    yield* this.submit({ ...options, prompt: await this.prepare(prompt, options) })
  }

  /**
   * Takes a request on, to share passes with all others. Computing happens while somebody reads any of them. Throws
   * `empty_prompt`, `context_exceeded`, `bad_argument`, and `busy` when too many wait.
   */
  submit(request: GenerateRequest): Submission {
    const { ids, trace } = this.#prompts.accept(request)
    const answer = new Answer(ids, request, this, trace)
    if (!answer.ended) this.#scheduler.add(answer)
    return new Submission(request.id, answer, this.#scheduler)
  }

  /** Answers many requests, `concurrency` (default 32) at once; yields each outcome as it comes, in any order. */
  generateMany(
    requests: Iterable<GenerateRequest> | AsyncIterable<GenerateRequest>,
    options: ManyOptions = {},
  ): AsyncGenerator<Outcome> {
    return submitMany(requests, (request) => this.submit(request), options)
  }

  /** The K and V of a text's or a conversation's beginning, whole pages of 16 tokens, as a file for `loadPrefix`. */
  savePrefix(opening: string | readonly Message[]): Promise<Uint8Array<ArrayBuffer>> {
    return this.#whileOpen(() => this.#saved.save(openingIds(this.tokenizer, this.archive.tokenizer, opening)))
  }

  /** Puts a saved beginning into the prefix cache. Throws `bad_prefix`, `checksum`, `wrong_model`, `out_of_pages`. */
  loadPrefix(file: Uint8Array, options: { tenant?: string } = {}): Promise<LoadedPrefix> {
    return this.#whileOpen(() => this.#saved.load(file, options.tenant ?? ''))
  }

  /**
   * The exact K and V of a prompt, computed among all other requests, as a stream for another engine of the same model
   * (`receiveKv`): blocks leave as they are made. Throws what `submit` throws. Leaving the loop early cancels it.
   */
  async *kvOf(ids: readonly number[], options: KvOptions): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    yield* this.#sender.send(ids, await this.kvIdentity(), options)
  }

  /** Makes ready to receive a prompt's K and V, and tells which are missing. The caller releases it. */
  expectKv(ids: readonly number[], options: ExpectOptions = {}): ExpectedKv {
    return this.#receiver.expect(ids, this.kvIdentity(), options)
  }

  /** What K and V of this engine depend on beside the tokens: equal at both ends of a stream. */
  kvIdentity(): Promise<KvIdentity> {
    this.#kvIdentity ??= kvIdentityOf(this.archive, this.identity, this.#predictorHash)
    return this.#kvIdentity
  }

  /** Bytes of K and V of 16 tokens. */
  get pageBytes(): number {
    return this.#cache.pool.pageBytes
  }

  get stats(): SchedulerStats {
    return this.#scheduler.stats
  }

  /** The ids a prompt becomes: templated unless `raw`. Throws `empty_prompt`, `context_exceeded`. */
  promptIds(prompt: PromptInput, options: PromptOptions & { onTemplate?: () => void } = {}): number[] {
    return this.#prompts.ids(prompt, options)
  }

  /**
   * The same without holding up anybody, for `submit`, once for any number of requests; TTFT counts from here. Rejects with what
   * `promptIds` throws, with `busy` when too many long prompts wait, and with `aborted`.
   */
  prepare(prompt: PromptInput, options: PrepareOptions = {}): Promise<PreparedPrompt> {
    return this.#prompts.prepare(prompt, options)
  }

  /** Puts `ids` into a cache of their own. The caller releases the session. */
  async prefill(ids: readonly number[], options: PrefillRequest = {}): Promise<Session> {
    return (await this.prefillMany([ids], options))[0]!
  }

  /** Puts each of `prompts` into a cache of its own, packed into as few passes as there can be. All or none. */
  prefillMany(prompts: readonly (readonly number[])[], options: PrefillRequest = {}): Promise<Session[]> {
    return this.#whileOpen(() => this.#cache.passing(() => this.#prefillMany(prompts, options)))
  }

  async #prefillMany(prompts: readonly (readonly number[])[], options: PrefillRequest): Promise<Session[]> {
    const packed = prompts.map((ids) => ({ ids, sequence: this.#cache.open() }))
    try {
      for (const { ids, sequence } of packed) sequence.reserve(ids.length)
      const { signal, onPrefill: onProgress } = options
      const logits = await this.#prefill.run(packed, { signal, onProgress })
      return packed.map(({ sequence }, index) => new Session(this.#model, sequence, logits[index]!))
    } catch (error) {
      for (const { sequence } of packed) sequence.release()
      throw error
    }
  }

  /** Log-probability of each of `ids` after those before it, (ids.length - 1). */
  async score(ids: readonly number[]): Promise<Float64Array> {
    return this.#whileOpen(() =>
      this.#cache.borrow((sequence) => scoreTokens(this.#model, sequence, ids), ids.length - 1),
    )
  }

  /** Logits after each of `ids`, (ids, vocab). At most one pass of tokens; `vocab` x 4 bytes each. */
  async logits(ids: readonly number[]): Promise<Float32Array> {
    return this.#whileOpen(() =>
      this.#cache.borrow((sequence) => this.#model.forward(pack([{ sequence, ids, outputs: 'all' }])), ids.length),
    )
  }

  tokenize(text: string, options: { special?: boolean } = {}): number[] {
    return this.tokenizer.encode(text, options)
  }

  /** Work that is not a request's: the end of the engine ends it as `aborted`, too, whatever it met of what is no longer there. */
  async #whileOpen<T>(work: () => Promise<T>): Promise<T> {
    const { signal } = this.#closing
    if (signal.aborted) throw signal.reason
    try {
      return await work()
    } catch (error) {
      throw signal.aborted ? signal.reason : error
    }
  }

  /** Aborted when the engine is closed: what is made of it elsewhere ends with it. */
  get closing(): AbortSignal {
    return this.#closing.signal
  }

  /** Ends all requests as `aborted`, and frees everything. */
  async close(): Promise<void> {
    this.#closing.abort(new ForetokenError('aborted', 'the engine was closed'))
    this.#prompts.close()
    await this.#scheduler.close()
    await this.backend.close()
  }
}

/**
 * Idle prefixes make memory grow to 256 MiB, or to a whole context if that is more, and to half of the pages at most. Beyond that it
 * grows for requests that run, and prefixes have what these leave: so a server's memory follows its load, not what it once answered.
 */
function pagesBeforeEvicting(pages: number, context: number, pageBytes: number): number {
  return Math.min(pages >> 1, Math.max(Math.ceil(context / pageTokens), Math.floor((256 << 20) / pageBytes)))
}
