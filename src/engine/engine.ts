/**
 * The data path, in order:
 *
 *     request -> template -> token ids -> pack -> prefill -> KV cache -> decode -> stream
 */

import type { Backend } from '../backend/backend.ts'
import { wireOf } from '../backend/capabilities.ts'
import { createWasmBackend } from '../backend/wasm/backend.ts'
import type { ModelFiles } from '../base/bytes.ts'
import { Callback } from '../base/callback.ts'
import { bytesOf, fieldsOf, idsOf, listOf, signalOf, textOf, withArguments } from '../base/checks.ts'
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import { type KvType, pageTokens } from '../base/kv.ts'
import type { ModelArchive } from '../base/model.ts'
import type { Message, PreparedPrompt, PromptInput } from '../base/prompt.ts'
import { Scheduler, type SchedulerStats } from '../decode/scheduler.ts'
import { scoreTokens } from '../decode/score.ts'
import { Session } from '../decode/session.ts'
import { Workbench } from '../fit/workbench.ts'
import { PagedCache, type Sequence } from '../kv/paged.ts'
import { PrefixIndex } from '../kv/prefix.ts'
import type { Llama } from '../model/forward.ts'
import { openModel } from '../model/open.ts'
import { pack } from '../pack/pack.ts'
import { Prediction } from '../predict/choice.ts'
import type { PredictorHeader } from '../predict/plan.ts'
import { ExactPrefill } from '../prefill/exact.ts'
import type { GenerateEvent } from '../stream/events.ts'
import { checkPrompt } from '../tokens/checked-prompt.ts'
import { openingIds } from '../tokens/opening.ts'
import type { PromptOptions } from '../tokens/prompt.ts'
import { type PrepareOptions, Prompts } from '../tokens/prompts.ts'
import { createTokenizer, type Tokenizer } from '../tokens/tokenizer.ts'
import type { KvIdentity } from '../transfer/format.ts'
import { kvIdentityOf } from '../transfer/identity.ts'
import { type ExpectedKv, type ExpectOptions, KvReceiver } from '../transfer/receiver.ts'
import { type KvOptions, KvSender } from '../transfer/sender.ts'
import { firstInexact } from '../transfer/steps.ts'
import { Answer } from './answer.ts'
import { loadParts, type Parts } from './load.ts'
import { type ManyOptions, type Outcome, submitMany } from './many.ts'
import {
  checkedOptions,
  checkedRequest,
  defaultContext,
  type EngineOptions,
  type GenerateOptions,
  type GenerateRequest,
  type PrefillRequest,
  type Settings,
  settingsOf,
} from './options.ts'
import { type LoadedPrefix, SavedPrefixes } from './saved-prefix.ts'
import { Submission } from './submission.ts'

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
  static async load(files: ModelFiles, given: EngineOptions): Promise<Engine> {
    const begun = performance.now()
    const options = withArguments('Engine.load', () => checkedOptions(given))
    let backend = options.backend
    try {
      const { context = defaultContext, ignoreConfig } = options
      const archive = await openModel(files, { context, ignoreConfig })
      // Before the weights: what it leaves to the garbage collector is gone when memory gets tight.
      const tokenizer = createTokenizer(archive.tokenizer)
      backend ??= await withArguments('Engine.load', () => createWasmBackend({ ...options, modules: options.wasm }))
      const settings = settingsOf(archive, options, backend.threads)
      const onProgress = new Callback('onProgress', options.onProgress)
      const model = { ...settings.model, onProgress: onProgress.call }
      const parts = await loadParts(archive, backend, { ...settings, model }, options)
      await onProgress.settle()
      const prompts = new Prompts(tokenizer, archive.tokenizer, settings.context, options.spawnText)
      return new Engine(archive, { tokenizer, prompts }, backend, parts, settings, begun)
    } catch (error) {
      await backend?.close()
      throw asForetokenError(error)
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
    this.#sender = new KvSender(this.#scheduler, this.#cache, prefixes, wireOf(backend), correcting)
    this.#receiver = new KvReceiver(this.#cache, prefixes, wireOf(backend), ahead)
    this.loadMs = performance.now() - begun
  }

  /** Answers a prompt, token by token. */
  async *generate(prompt: PromptInput, options: GenerateOptions = {}): AsyncGenerator<GenerateEvent> {
    const fields = withArguments('generate', () => fieldsOf('the options', options, 'be absent'))
    const request = checkedRequest({ ...fields, prompt })
    yield* this.submit({ ...request, prompt: await this.prepare(prompt, request) })
  }

  /**
   * Takes a request on, to share passes with all others. Computing happens while somebody reads any of them. Throws
   * `empty_prompt`, `context_exceeded`, `bad_argument`, and `busy` when too many wait.
   */
  submit(given: GenerateRequest): Submission {
    const request = checkedRequest(given)
    const answer = withArguments('submit', () => {
      const { ids, trace } = this.#prompts.accept(request)
      return new Answer(ids, request, this, trace)
    })
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
    return this.#whileOpen(() => {
      const ids = withArguments('savePrefix', () => {
        checkPrompt(opening)
        return openingIds(this.tokenizer, this.archive.tokenizer, opening)
      })
      return this.#saved.save(ids)
    })
  }

  /** Puts a saved beginning into the prefix cache. Throws `bad_prefix`, `checksum`, `wrong_model`, `out_of_pages`. */
  loadPrefix(file: Uint8Array, options: { tenant?: string } = {}): Promise<LoadedPrefix> {
    return this.#whileOpen(() => {
      const { tenant = '' } = withArguments('loadPrefix', () => fieldsOf('the options', options, 'be absent'))
      return this.#saved.load(bytesOf('file', file), textOf('tenant', tenant))
    })
  }

  /**
   * The exact K and V of a prompt, computed among all other requests, as a stream for another engine of the same model
   * (`receiveKv`): blocks leave as they are made. Throws what `submit` throws. Leaving the loop early cancels it.
   */
  async *kvOf(ids: readonly number[], options: KvOptions): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const { checked, prompt } = withArguments('kvOf', () => {
      const checked = fieldsOf('the options', options)
      const { signal, key, tenant = '', context = '' } = checked
      for (const [name, value] of Object.entries({ tenant, context })) textOf(name, value)
      bytesOf('key', key)
      signalOf('signal', signal)
      return { checked, prompt: idsOf('ids', ids, this.archive.config.vocab) }
    })
    const identity = await this.kvIdentity()
    try {
      yield* this.#sender.send(prompt, identity, checked)
    } catch (error) {
      throw asForetokenError(error)
    }
  }

  /** Makes ready to receive a prompt's K and V, and tells which are missing. The caller releases it. */
  expectKv(ids: readonly number[], options: ExpectOptions = {}): ExpectedKv {
    if (this.closing.aborted) throw this.closing.reason
    const { tenant, prompt } = withArguments('expectKv', () => {
      const { tenant = '' } = fieldsOf('the options', options, 'be absent')
      return { tenant: textOf('tenant', tenant), prompt: idsOf('ids', ids, this.archive.config.vocab) }
    })
    return this.#receiver.expect(prompt, this.kvIdentity(), { tenant })
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
    const fields = withArguments('promptIds', () => fieldsOf('the options', options, 'be absent'))
    return this.#prompts.ids(prompt, { ...fields, onTemplate: new Callback('onTemplate', fields.onTemplate).call })
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
    return this.#whileOpen(() => {
      const { vocab } = this.archive.config
      const checked = withArguments('prefill', () => {
        const fields = fieldsOf('the options', options, 'be absent')
        signalOf('signal', fields.signal)
        return { fields, prompts: listOf('prompts', prompts).map((ids, at) => idsOf(`prompts[${at}]`, ids, vocab)) }
      })
      return this.#cache.passing(() => this.#prefillMany(checked.prompts, checked.fields))
    })
  }

  async #prefillMany(prompts: readonly (readonly number[])[], options: PrefillRequest): Promise<Session[]> {
    const packed = prompts.map((ids) => ({ ids, sequence: this.#cache.open() }))
    try {
      for (const { ids, sequence } of packed) sequence.reserve(ids.length)
      const onPrefill = new Callback('onPrefill', options.onPrefill)
      const logits = await this.#prefill.run(packed, { signal: options.signal, onProgress: onPrefill.call })
      await onPrefill.settle()
      return packed.map(({ sequence }, index) => new Session(this.#model, sequence, logits[index]!, this.closing))
    } catch (error) {
      for (const { sequence } of packed) sequence.release()
      throw error
    }
  }

  /** Log-probability of each of `ids` after those before it, (ids.length - 1). */
  async score(ids: readonly number[]): Promise<Float64Array> {
    return this.#whileOpen(() => {
      const checked = this.#checked(ids)
      return this.#cache.borrow((sequence) => scoreTokens(this.#model, sequence, checked), checked.length - 1)
    })
  }

  /** Logits after each of `ids`, (ids, vocab). At most one pass of tokens; `vocab` x 4 bytes each. */
  async logits(ids: readonly number[]): Promise<Float32Array> {
    return this.#whileOpen(() => {
      const checked = this.#checked(ids)
      const forward = (sequence: Sequence) => this.#model.forward(pack([{ sequence, ids: checked, outputs: 'all' }]))
      return this.#cache.borrow(forward, checked.length)
    })
  }

  tokenize(text: string, options: { special?: boolean } = {}): number[] {
    const fields = withArguments('tokenize', () => fieldsOf('the options', options, 'be absent'))
    return this.tokenizer.encode(textOf('text', text), fields)
  }

  /** Work that is not a request's: the end of the engine ends it as `aborted`, too, whatever it met of what is no longer there. */
  async #whileOpen<T>(work: () => Promise<T>): Promise<T> {
    const { signal } = this.#closing
    if (signal.aborted) throw signal.reason
    try {
      return await work()
    } catch (error) {
      throw signal.aborted ? signal.reason : asForetokenError(error)
    }
  }

  #checked(ids: readonly number[]): readonly number[] {
    return withArguments('ids', () => idsOf('ids', ids, this.archive.config.vocab))
  }

  /** Aborted when the engine is closed: what is made of it elsewhere ends with it. */
  get closing(): AbortSignal {
    return this.#closing.signal
  }

  /** Ends all requests as `aborted`, and frees everything. */
  async close(): Promise<void> {
    const closed = new ForetokenError('aborted', 'the engine was closed')
    this.#closing.abort(closed)
    this.#cache.close(closed)
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
