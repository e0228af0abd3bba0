/**
 * Joins the stages of the data path:
 *
 *     request -> template -> token ids -> pack -> prefill -> KV cache -> decode -> stream
 *
 * The engine creates the parts and delegates to them. `tokens/prompts.ts` makes the token ids,
 * `decode/scheduler.ts` runs passes, `decode/plan.ts` plans each one and lays it out with
 * `pack/pack.ts`, `model/forward.ts` or `prefill/open.ts` computes it, and `answer-state.ts` turns
 * its scores into events.
 */

import type { Backend } from '../backend/backend.ts'
import { wireOf } from '../backend/capabilities.ts'
import { at } from '../base/at.ts'
import type { ByteSource, ModelFiles } from '../base/bytes.ts'
import { Callback } from '../base/callback.ts'
import { bytesOf, idsOf, listOf, textOf, withArguments, wrong } from '../base/checks.ts'
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import { checkedFields, flag } from '../base/fields.ts'
import type { KvType } from '../base/kv.ts'
import type { ModelArchive } from '../base/model.ts'
import type { Message, PreparedPrompt, PromptInput } from '../base/prompt.ts'
import { Scheduler, type SchedulerStats } from '../decode/scheduler.ts'
import type { Session } from '../decode/session.ts'
import { Workbench } from '../fit/workbench.ts'
import { ChunkStore } from '../kv/chunk-store.ts'
import { PagedCache } from '../kv/paged.ts'
import { PrefixIndex } from '../kv/prefix.ts'
import { withAdvice } from '../model/advice.ts'
import type { LoadedModel } from '../model/forward.ts'
import { int8Warnings } from '../model/key-balance.ts'
import { checkedSource, memorySource } from '../model/source.ts'
import { Prediction } from '../predict/choice.ts'
import type { PredictorHeader } from '../predict/header.ts'
import { ExactPrefill } from '../prefill/exact.ts'
import type { GenerateEvent } from '../stream/events.ts'
import { checkPrompt } from '../tokens/checked-prompt.ts'
import { openingIds } from '../tokens/opening.ts'
import type { PromptOptions } from '../tokens/prompt.ts'
import { Prompts, promptIdsChecks } from '../tokens/prompts.ts'
import type { Tokenizer } from '../tokens/tokenizer.ts'
import { type ExpectedKv, type ExpectOptions, expectChecks, KvReceiver } from '../transfer/expected-kv.ts'
import type { KvIdentity } from '../transfer/format.ts'
import { kvIdentityOf } from '../transfer/identity.ts'
import { type KvOptions, KvSender, kvChecks } from '../transfer/sender.ts'
import { firstInexact } from '../transfer/steps.ts'
import { AnswerState } from './answer-state.ts'
import { ChunkKeeper } from './chunk-keeper.ts'
import type { Embeddings, EmbedInput, EmbedOptions } from './embed.ts'
import { generateFrom } from './generate.ts'
import { LazyGuides, type PrepareOptions, prepareGuided } from './guides.ts'
import { admit } from './late.ts'
import { loadParts, openParts, type Parts, type TextParts } from './load.ts'
import { submitMany } from './many.ts'
import {
  checkedOptions,
  checkedRequest,
  type EngineOptions,
  type GenerateOptions,
  type GenerateRequest,
  type ManyOptions,
  type PrefillRequest,
  pagesBeforeEvicting,
  type Settings,
} from './options.ts'
import type { Ranking, RerankOptions } from './rerank.ts'
import type { ChunkParts, LoadChunksOptions, LoadedChunks } from './saved-chunks.ts'
import { type LoadedPrefix, SavedPrefixes } from './saved-prefix.ts'
import type { Outcome, TextService } from './service.ts'
import { logitsOfIds, openSessions, type SessionParts, scoreIds } from './sessions.ts'
import { Submission } from './submission.ts'

export class Engine implements TextService {
  readonly archive: ModelArchive
  readonly context: number
  readonly tokenizer: Tokenizer
  readonly backend: Backend
  readonly #model: LoadedModel
  readonly #cache: PagedCache
  readonly #scheduler: Scheduler
  readonly #prefill: ExactPrefill
  readonly #prompts: Prompts
  /** Makes and judges predictors. */
  readonly workbench: Workbench
  /** Predicts prompts; undefined without a predictor. */
  readonly prediction: Prediction | undefined
  /** Keeps the chunks of prompts. */
  readonly chunks: ChunkKeeper
  readonly #chunkStore: ChunkStore
  readonly #saved: SavedPrefixes
  readonly #sender: KvSender
  readonly #receiver: KvReceiver
  readonly #predictorHash: string | undefined
  readonly #balance: string | undefined
  #kvIdentity: Promise<KvIdentity> | undefined
  readonly #closing = new AbortController()
  readonly loadMs: number
  /** False for a model whose tokens see those behind them: it makes embeddings only. */
  readonly answers: boolean
  /** How KV pages store K and V. */
  readonly kvType: KvType
  /** A hash of the weights, in hex: differs between models of the same shape. */
  readonly identity: string
  /** The header of the predictor's file; undefined without a predictor. */
  readonly predictor: PredictorHeader | undefined
  /** Compiles guides; undefined if the engine was loaded without grammars. */
  readonly guides: LazyGuides | undefined

  /**
   * Opens a model and streams its weights into the core. Throws `bad_model`, `unsupported`,
   * `out_of_memory`.
   */
  static async load(files: ModelFiles, options: EngineOptions): Promise<Engine> {
    const begun = performance.now()
    const checked = withArguments('Engine.load', () => checkedOptions(options))
    let backend: Backend | undefined
    try {
      const opened = await openParts(files, checked)
      const { archive, tokenizer, settings } = opened
      backend = opened.backend
      const onProgress = new Callback('onProgress', checked.onProgress)
      const model = { ...settings.model, onProgress: onProgress.call }
      const parts = await loadParts(archive, backend, { ...settings, model }, checked)
      await onProgress.settle()
      const prompts = new Prompts(tokenizer, archive.tokenizer, settings.context, checked.spawnText)
      const odd = settings.model.kv === 'int8' ? int8Warnings(archive.name, parts.model.keyBalances) : []
      const warned = odd.length === 0 ? archive : { ...archive, warnings: [...archive.warnings, ...odd] }
      const guides = options.guides && new LazyGuides(options.guides, archive, tokenizer)
      return new Engine(warned, { tokenizer, prompts, guides }, backend, parts, settings, begun)
    } catch (error) {
      await backend?.close()
      const failure = asForetokenError(error)
      throw failure.code === 'bad_model' ? withAdvice(failure) : failure
    }
  }

  private constructor(
    archive: ModelArchive,
    { tokenizer, prompts, guides }: TextParts,
    backend: Backend,
    { model, balance, auxiliary, predicting, residuals }: Parts,
    settings: Settings,
    begun: number,
  ) {
    const { context, pages, prefixBytes = (pages >> 1) * model.pool.pageBytes, schedule } = settings
    this.archive = archive
    this.backend = backend
    this.context = context
    this.tokenizer = tokenizer
    this.#prompts = prompts
    this.guides = guides
    this.#model = model
    this.answers = !model.bothWays
    this.kvType = settings.model.kv
    this.#cache = new PagedCache(model.pool, pages, context, model.config.ropeLong?.beyond)
    if (settings.prefixBytes === undefined)
      this.#cache.growsTo = pagesBeforeEvicting(pages, context, model.pool.pageBytes)
    const prefixes = new PrefixIndex(this.#cache, prefixBytes)
    this.identity = model.identity
    this.predictor = predicting?.predictor.header
    const forward = predicting ?? model
    this.prediction = this.predictor && new Prediction(this.predictor, archive.config, auxiliary?.model.config)
    const chunks = new ChunkStore(settings.chunkBytes, model.kvWidths)
    this.#scheduler = new Scheduler(forward, this.#cache, prefixes, schedule, this.prediction, chunks)
    this.#chunkStore = chunks
    this.chunks = new ChunkKeeper(chunks, this.#scheduler, {
      ...{ prompts, context },
      requirePlaceable: () => model.requirePlaceable(),
    })
    this.#prefill = new ExactPrefill(model)
    this.#balance = balance
    // Pages with another key balance count as those of another model.
    const fingerprint = balance ?? model.identity
    const binding = { model: archive.name, fingerprint, vocab: archive.config.vocab, pool: model.pool }
    this.#saved = new SavedPrefixes(this.#cache, prefixes, this.#prefill, binding)
    const ahead = this.prediction && { forward, prediction: this.prediction, cache: this.#cache }
    this.#predictorHash = residuals?.sha256
    const plan = this.predictor?.plan
    const correcting = ahead &&
      residuals &&
      plan && { ...ahead, steps: residuals.steps, firstLayer: firstInexact(plan) }
    const parts = { model, auxiliary, cache: this.#cache, backend }
    this.workbench = new Workbench(parts, forward, this.prediction, correcting)
    this.#sender = new KvSender(this.#scheduler, this.#cache, prefixes, wireOf(backend), correcting)
    this.#receiver = new KvReceiver(this.#cache, prefixes, wireOf(backend), ahead)
    this.loadMs = performance.now() - begun
  }

  /**
   * Answers a prompt or a whole request, event by event. The request is submitted on the first
   * `next()`, not before. Rejects with what `prepare` and `submit` throw.
   */
  generate(prompt: PromptInput | GenerateRequest, options: GenerateOptions = {}): AsyncGenerator<GenerateEvent> {
    return generateFrom(this, prompt, options)
  }

  /**
   * Submits a request at once; it shares passes with all others, and is computed while any caller
   * reads one of them. Throws `empty_prompt`, `context_exceeded`, `bad_argument`, `busy` when too
   * many wait, and `aborted` after `close`.
   */
  submit(request: GenerateRequest): Submission {
    const checked = checkedRequest(request)
    const state = withArguments('submit', () => {
      const { ids, chunks, trace } = this.accept(checked)
      return new AnswerState(ids, checked, this, trace, chunks)
    })
    return new Submission(checked.id, state, admit(state, this.#scheduler, this.closing))
  }

  /** Reads the prompt of a request, and begins its trace. Throws what `submit` throws about it. */
  accept(request: GenerateRequest): ReturnType<Prompts['accept']> {
    return withArguments('submit', () => this.#prompts.accept(request))
  }

  /**
   * Answers many requests, `concurrency` (default 32) at a time; yields each outcome as soon as it
   * is known, in any order.
   */
  generateMany(
    requests: Iterable<GenerateRequest> | AsyncIterable<GenerateRequest>,
    options: ManyOptions = {},
  ): AsyncGenerator<Outcome> {
    return submitMany(requests, (request) => this.submit(request), options)
  }

  /**
   * Computes the chunks that earlier prompts marked and that wait to be kept. They are computed beside
   * answers, too, as long as any is read; a host calls this when it would be idle. Resolves when no
   * chunk waits.
   */
  keepChunks(): Promise<void> {
    return this.#whileOpen(() => this.chunks.kept())
  }

  /**
   * Computes the K and V of texts that come again in prompts, each alone, and resolves with them as a
   * file for `loadChunks`. Prompts find a text where one of their parts is the same text and marked.
   * Throws `bad_argument` for a text of fewer than 24 tokens, `context_exceeded`, `unsupported`.
   */
  saveChunks(texts: readonly string[]): Promise<Uint8Array<ArrayBuffer>> {
    return this.#whileOpen(async () => {
      this.#model.requirePlaceable()
      const checked = withArguments('saveChunks', () => {
        const list = listOf<unknown>('texts', texts)
        if (list.length === 0) throw wrong('texts', 'a list of at least one text', list)
        // `map` would skip the holes of a sparse list.
        return Array.from(list, (text, index) => textOf(`texts[${index}]`, text))
      })
      const chunks = checked.map((text) => this.tokenizer.encode(text, { special: false, bos: false }))
      return (await import('./saved-chunks.ts')).saveChunks(this.#chunkParts, chunks)
    })
  }

  /**
   * Keeps the chunks of a file of `saveChunks` until they are released: bytes, or a source from which
   * they are read one by one. Throws `bad_prefix`, `checksum`, `wrong_model`, `unsupported`, and
   * `out_of_memory` beyond `chunkBytes`.
   */
  loadChunks(file: Uint8Array | ByteSource, options: LoadChunksOptions = {}): Promise<LoadedChunks> {
    return this.#whileOpen(async () => {
      this.#model.requirePlaceable()
      const { tenant, source } = withArguments('loadChunks', () => {
        const { tenant } = checkedFields('the options', options, expectChecks, 'be absent')
        const isSource = typeof file === 'object' && file !== null && 'read' in file
        return {
          tenant,
          source: isSource ? checkedSource('chunks', file) : memorySource('chunks', bytesOf('file', file)),
        }
      })
      return (await import('./saved-chunks.ts')).loadChunks(this.#chunkParts, source, tenant)
    })
  }

  get #chunkParts(): ChunkParts {
    const { archive, context, identity: fingerprint } = this
    const widths = this.#model.kvWidths
    const binding = { model: archive.name, fingerprint, vocab: archive.config.vocab, widths }
    return { store: this.#chunkStore, scheduler: this.#scheduler, sinks: () => this.chunks.sinks, binding, context }
  }

  /**
   * Computes the K and V of the beginning of a text or a conversation, and resolves with them as a
   * file for `loadPrefix`: whole pages of 16 tokens. Throws `bad_argument` if there are fewer
   * tokens.
   */
  savePrefix(opening: string | readonly Message[]): Promise<Uint8Array<ArrayBuffer>> {
    return this.#whileOpen(() => {
      this.#model.requireAnswers()
      const ids = withArguments('savePrefix', () => {
        checkPrompt(opening)
        return openingIds(this.tokenizer, this.archive.tokenizer, opening)
      })
      return this.#saved.save(ids)
    })
  }

  /**
   * Puts a saved prefix into the prefix cache. Throws `bad_prefix`, `checksum`, `wrong_model`,
   * `out_of_pages`.
   */
  loadPrefix(file: Uint8Array, options: { tenant?: string } = {}): Promise<LoadedPrefix> {
    return this.#whileOpen(() => {
      const { tenant = '' } = withArguments('loadPrefix', () =>
        checkedFields('the options', options, expectChecks, 'be absent'),
      )
      return this.#saved.load(bytesOf('file', file), tenant)
    })
  }

  /**
   * Computes the exact K and V of a prompt, among all other requests, and yields them as a stream
   * for another engine of the same model (`receiveKv`), block by block. Throws what `submit`
   * throws. Leaving the loop early cancels the work.
   */
  async *kvOf(ids: readonly number[], options: KvOptions): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { checked, prompt } = withArguments('kvOf', () => ({
      checked: checkedFields('the options', options, kvChecks),
      prompt: idsOf('ids', ids, this.archive.config.vocab),
    }))
    const identity = await this.kvIdentity()
    try {
      yield* this.#sender.send(prompt, identity, checked)
    } catch (error) {
      throw asForetokenError(error)
    }
  }

  /**
   * Prepares to receive the K and V of a prompt, and returns which are missing. The caller must
   * release it.
   */
  expectKv(ids: readonly number[], options: ExpectOptions = {}): ExpectedKv {
    if (this.closing.aborted) throw this.closing.reason
    const { tenant, prompt } = withArguments('expectKv', () => {
      const { tenant = '' } = checkedFields('the options', options, expectChecks, 'be absent')
      return { tenant, prompt: idsOf('ids', ids, this.archive.config.vocab) }
    })
    return this.#receiver.expect(prompt, this.kvIdentity(), { tenant })
  }

  /**
   * Resolves with everything that K and V depend on besides the tokens. It must be equal at both
   * ends of a stream.
   */
  kvIdentity(): Promise<KvIdentity> {
    this.#kvIdentity ??= kvIdentityOf(this.archive, {
      identity: this.identity,
      balance: this.#balance,
      predictor: this.#predictorHash,
    })
    return this.#kvIdentity
  }

  /** Size of a KV page, which holds 16 tokens, in bytes. */
  get pageBytes(): number {
    return this.#cache.pool.pageBytes
  }

  get stats(): SchedulerStats {
    return this.#scheduler.stats
  }

  get #bulk() {
    const { archive, tokenizer, context } = this
    return { archive, tokenizer, context, model: this.#model, scheduler: this.#scheduler }
  }

  /**
   * Returns the token ids of a prompt; the chat template is applied unless `raw`. Throws
   * `empty_prompt`, `context_exceeded`.
   */
  promptIds(prompt: PromptInput, options: PromptOptions & { onTemplate?: () => void } = {}): number[] {
    const fields = withArguments('promptIds', () => checkedFields('the options', options, promptIdsChecks, 'be absent'))
    return this.#prompts.ids(prompt, { ...fields, onTemplate: new Callback('onTemplate', fields.onTemplate).call })
  }

  /**
   * Makes token ids of a prompt without blocking the host, for any number of requests; TTFT counts
   * from this call. Compiles its guide, if it has one. Rejects with what `promptIds` and the guide
   * throw, with `busy` when too many long prompts wait, and with `aborted`.
   */
  prepare(prompt: PromptInput, options: PrepareOptions = {}): Promise<PreparedPrompt> {
    return prepareGuided(this.#prompts, this.guides, prompt, options, this.closing)
  }

  /** Reads `ids` into a cache of their own. The caller must release the session. */
  async prefill(ids: readonly number[], options: PrefillRequest = {}): Promise<Session> {
    return at(await this.prefillMany([ids], options), 0)
  }

  /**
   * Reads each of `prompts` into a cache of its own, in as few passes as possible. Either all
   * succeed or none. The caller must release the sessions.
   */
  prefillMany(prompts: readonly (readonly number[])[], options: PrefillRequest = {}): Promise<Session[]> {
    return this.#whileOpen(() => openSessions(this.#sessionParts, prompts, options))
  }

  get #sessionParts(): SessionParts {
    return { model: this.#model, cache: this.#cache, prefill: this.#prefill, closing: this.closing }
  }

  /**
   * Makes an embedding of each text, among all other requests. Rejects with `unsupported` for a model
   * that was not made for it unless `pooling` is given, and with `bad_argument`, `empty_prompt`,
   * `context_exceeded`, `busy` and `aborted`.
   */
  embed(texts: EmbedInput, options: EmbedOptions = {}): Promise<Embeddings> {
    return this.#whileOpen(async () => (await import('./texts.ts')).embed(this.#bulk, texts, options))
  }

  /**
   * Scores how well each document answers a query, with a model that is a reranker. Rejects with
   * `unsupported` for another one unless `force` is given, and as `embed`.
   */
  rerank(query: string, documents: readonly string[], options: RerankOptions = {}): Promise<Ranking> {
    return this.#whileOpen(async () => (await import('./texts.ts')).rerank(this.#bulk, query, documents, options))
  }

  /** Returns the log-probability of each of `ids` after the ids before it, (ids.length - 1). */
  score(ids: readonly number[]): Promise<Float64Array> {
    return this.#whileOpen(() => scoreIds(this.#sessionParts, ids))
  }

  /**
   * Returns the logits after each of `ids`, (ids, vocab). Takes at most one pass of tokens; each
   * row has 4 x `vocab` bytes.
   */
  logits(ids: readonly number[]): Promise<Float32Array> {
    return this.#whileOpen(() => logitsOfIds(this.#sessionParts, ids))
  }

  /** Returns the ids of a text without a template. `special` reads special tokens in it as such. */
  tokenize(text: string, options: { special?: boolean } = {}): number[] {
    const fields = withArguments('tokenize', () =>
      checkedFields<{ special?: boolean }>('the options', options, { special: flag }, 'be absent'),
    )
    return this.tokenizer.encode(textOf('text', text), fields)
  }

  /** Runs work of no request. It fails as `aborted` if the engine closes meanwhile. */
  async #whileOpen<T>(work: () => Promise<T>): Promise<T> {
    const { signal } = this.#closing
    if (signal.aborted) throw signal.reason
    try {
      return await work()
    } catch (error) {
      throw signal.aborted ? signal.reason : asForetokenError(error)
    }
  }

  /** Aborted when the engine is closed, for work elsewhere that must end with it. */
  get closing(): AbortSignal {
    return this.#closing.signal
  }

  /** Ends all requests as `aborted`, and frees everything. May be called twice. */
  async close(): Promise<void> {
    const closed = new ForetokenError('aborted', 'the engine was closed')
    this.#closing.abort(closed)
    this.#cache.close(closed)
    this.#prompts.close()
    this.guides?.close()
    await this.#scheduler.close()
    // Whoever still holds the engine does not hold its chunks.
    this.#chunkStore.clear()
    await this.backend.close()
  }
}
