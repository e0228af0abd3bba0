/**
 * Runs an ONNX model with the interface of `Engine`: for encoders (encoder.ts), for families that the Rust core does not
 * support, and as the decoder of a cache that the Rust core predicts, which shortens the TTFT of an
 * ONNX deployment without changing its model.
 *
 * The steps of all requests take turns in one session, since a session has one batch. The cache of
 * a request consists of whole tensors, so that few requests run at once.
 */

import { at } from '../base/at.ts'
import type { ModelFiles } from '../base/bytes.ts'
import { Callback } from '../base/callback.ts'
import { throwIfAborted } from '../base/cancelled.ts'
import { listOf, withArguments, wrong } from '../base/checks.ts'
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import { checkedFields } from '../base/fields.ts'
import { Gate } from '../base/gate.ts'
import { Lifetime } from '../base/lifetime.ts'
import type { ModelArchive } from '../base/model.ts'
import type { PreparedPrompt, PromptInput } from '../base/prompt.ts'
import { Shares } from '../base/shares.ts'
import { AnswerState } from '../engine/answer-state.ts'
import type { Embeddings, EmbedInput, EmbedOptions } from '../engine/embed.ts'
import type { Engine } from '../engine/engine.ts'
import { generateFrom, resultOf } from '../engine/generate.ts'
import { LazyGuides, type PrepareOptions, prepareGuided } from '../engine/guides.ts'
import { submitMany } from '../engine/many.ts'
import {
  checkedRequest,
  contextOf,
  type GenerateOptions,
  type GenerateRequest,
  type ManyOptions,
} from '../engine/options.ts'
import type { Outcome, TextService } from '../engine/service.ts'
import { submitSteps } from '../engine/stepped.ts'
import type { Submission } from '../engine/submission.ts'
import { withAdvice } from '../model/advice.ts'
import { withoutAnswers } from '../model/config.ts'
import { checkedFiles } from '../model/open.ts'
import { maskTokenless } from '../model/tokenless.ts'
import type { DoneEvent, GenerateEvent } from '../stream/events.ts'
import type { PromptOptions } from '../tokens/prompt.ts'
import { Prompts, promptIdsChecks } from '../tokens/prompts.ts'
import { createTokenizer, type Tokenizer } from '../tokens/tokenizer.ts'
import { binsOf } from './bins.ts'
import type { OrtEncoder } from './encoder.ts'
import type { OnnxFolder } from './folder.ts'
import { checkedOptions, checkReader, type OrtEngineOptions } from './options.ts'
import type { OrtSession } from './runtime.ts'
import type { CachedPrompt, OrtCache, OrtModel } from './session.ts'

/** The older name of the answers of an `OrtEngine`. */
export type OrtSubmission = Submission

export class OrtEngine implements TextService {
  readonly archive: ModelArchive
  readonly tokenizer: Tokenizer
  readonly context: number
  readonly loadMs: number
  /** False for an encoder. */
  readonly answers: boolean
  readonly backend: { readonly build: string; memoryBytes(): number }
  /** Compiles guides; undefined if the engine was loaded without grammars. */
  readonly guides: LazyGuides | undefined
  /** Makes an embedding of each text, one by one; absent unless the model is an encoder. */
  readonly embed?: (texts: EmbedInput, options?: EmbedOptions) => Promise<Embeddings>
  /** Undefined for an encoder. */
  readonly #decoder: OrtModel | undefined
  readonly #close: () => Promise<void>
  readonly #prompts: Prompts
  readonly #reader: Engine | undefined
  readonly #closesReader: boolean
  /** Admits one step at a time, since a session cannot run two. */
  readonly #session = new Gate({ stocks: [new Shares(1)] })
  readonly #gate: Gate
  /** The lifetimes of all requests that hold or wait for something. */
  readonly #open = new Set<Lifetime>()
  readonly #count = { passes: 0, prefill_tokens: 0, decode_tokens: 0 }
  #closed = false
  /** Ends preparations. */
  readonly #closing = new AbortController()

  /**
   * Opens a folder with config.json, tokenizer.json and one .onnx file, which may be in `onnx/`.
   * With a reader the .onnx file is enough. Throws `not_found`, `bad_model`, `unsupported`, and
   * `wrong_model` for a reader whose shapes differ.
   */
  static async load(folder: ModelFiles, wanted: OrtEngineOptions): Promise<OrtEngine> {
    const begun = performance.now()
    const { files, options } = withArguments('OrtEngine.load', () => ({
      options: checkedOptions(wanted),
      files: checkedFiles(folder),
    }))
    let session: OrtSession | undefined
    try {
      const { checkContext, externalOf, isEncoder, OrtModel, onnxFile, openSession, readFolder, whole } = await import(
        './opening.ts'
      )
      const file = onnxFile(files)
      const name = `${files.name}/${file}`
      const description = await readFolder(files, options.reader)
      checkContext(description, options.context)
      const bytes = await whole(await files.open(file))
      const { ort, reader } = options
      const externalData = await externalOf(files, file, options)
      const held = externalData.reduce((sum, { data }) => sum + data.length, bytes.length)
      session = await openSession(name, bytes, { ...options, externalData })
      if (!isEncoder(session)) return new OrtEngine(description, new OrtModel(name, ort, session), options, begun, held)
      if (reader) throw wrong('reader', 'absent: an encoder has no prompts to read', reader)
      const { OrtEncoder } = await import('./encoder.ts')
      const encoder = await OrtEncoder.of(files, description, name, { ort, session })
      return new OrtEngine(encoder.description, encoder, options, begun, held)
    } catch (error) {
      await session?.release?.()
      throw withAdvice(asForetokenError(error, 'io', 'reading the model'))
    }
  }

  private constructor(
    description: OnnxFolder,
    model: OrtModel | OrtEncoder,
    {
      reader,
      closesReader = false,
      context,
      executionProviders,
      maxRunning = 8,
      maxWaiting = 256,
      spawnText,
      guides,
    }: OrtEngineOptions,
    begun: number,
    /** Bytes of the graph and its weights, which the runtime holds. */
    held: number,
  ) {
    const { name, tokenizer } = description
    const encoder = 'embed' in model ? model : undefined
    const decoder = 'embed' in model ? undefined : model
    if (reader && decoder) checkReader(name, reader, decoder)
    this.archive = { ...description, tensors: new Map(), fingerprint: '' }
    this.tokenizer = createTokenizer(tokenizer, encoder?.tokenizers)
    this.context = withArguments('OrtEngine.load', () => contextOf(description, context))
    this.guides = guides && new LazyGuides(guides, this.archive, this.tokenizer)
    this.#prompts = new Prompts(this.tokenizer, tokenizer, this.context, encoder ? undefined : spawnText)
    this.backend = {
      build: `onnx ${executionProviders?.join('+') ?? 'default'}`,
      memoryBytes: () => held + (reader?.backend.memoryBytes() ?? 0),
    }
    this.#decoder = decoder
    this.answers = decoder !== undefined
    this.#close = () => model.close()
    if (encoder) this.embed = (texts, options) => this.#embedded(encoder, texts, options)
    this.#reader = reader
    this.#closesReader = closesReader
    this.#gate = new Gate({ stocks: [new Shares(maxRunning)], maxWaiting })
    this.loadMs = performance.now() - begun
  }

  /** Throws `unsupported` for an encoder. */
  get #model(): OrtModel {
    if (!this.#decoder) throw withoutAnswers(this.archive.config)
    return this.#decoder
  }

  async #embedded(encoder: OrtEncoder, texts: EmbedInput, options: EmbedOptions = {}): Promise<Embeddings> {
    if (this.#closed) throw closedError()
    const made = await encoder.embed(this, texts, options, (run, signal) => this.#step(run, signal))
    this.#count.prefill_tokens += made.tokens.reduce((sum, count) => sum + count, 0)
    return made
  }

  /** Predicts prompts; undefined without a reader that predicts. */
  get prediction(): TextService['prediction'] {
    return this.#reader?.prediction
  }

  /** Returns the token ids of a prompt, as `Engine.promptIds` does. */
  promptIds(prompt: PromptInput, options: PromptOptions & { onTemplate?: () => void } = {}): number[] {
    const fields = withArguments('promptIds', () => checkedFields('the options', options, promptIdsChecks, 'be absent'))
    return this.#prompts.ids(prompt, { ...fields, onTemplate: new Callback('onTemplate', fields.onTemplate).call })
  }

  /** Makes token ids of a prompt without blocking the host, as `Engine.prepare` does. */
  async prepare(prompt: PromptInput, options: PrepareOptions = {}): Promise<PreparedPrompt> {
    // Before a template is missed that an encoder has no use for.
    void this.#model
    return prepareGuided(this.#prompts, this.guides, prompt, options, this.#closing.signal)
  }

  /** Counts since the engine was loaded. Pages are 0: only the Rust core has them. */
  get stats(): TextService['stats'] {
    return {
      ...this.#count,
      cached_tokens: 0,
      preemptions: 0,
      running: this.#gate.running,
      waiting: this.#gate.waiting,
      pages_in_use: 0,
      prefix_pages: 0,
      chunk_bytes: 0,
    }
  }

  /**
   * Answers a prompt or a whole request, event by event. The request is submitted on the first
   * `next()`, not before. Rejects with what `prepare` and `submit` throw.
   */
  generate(prompt: PromptInput | GenerateRequest, options: GenerateOptions = {}): AsyncGenerator<GenerateEvent> {
    return generateFrom(this, prompt, options)
  }

  /**
   * Submits a request at once: it has its place, or waits for one, from this call on. Throws the
   * errors of `Engine.submit`; prefill modes `refined` and `auto` are `unsupported`.
   */
  submit(request: GenerateRequest): Submission {
    const checked = checkedRequest(request)
    // Refuses an encoder.
    void this.#model
    const { prefill = 'exact' } = checked
    const { ids, trace } = withArguments('submit', () => this.#prompts.accept(checked))
    if (prefill !== 'exact' && prefill !== 'predicted')
      throw new ForetokenError(
        'unsupported',
        `prefill ${prefill}: an ONNX cache is not refined; ask for exact or predicted`,
      )
    const state = withArguments('submit', () => new AnswerState(ids, checked, this, trace))
    if (!state.ended) this.#gate.check()
    return submitSteps(checked.id, state, this.#opened(), {
      enter: (signal) => this.#gate.enter({ signal }),
      run: () => this.#answered(state, prefill),
    })
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
   * Answers several prompts with exact prefill; resolves with one result for each, in order. If the
   * model takes a mask of rows by columns, the prompts are read together, in rows that are packed
   * by best-fit decreasing (Prepacking, arXiv 2404.09529, section 3); otherwise they are read one
   * by one. Rejects as `generate` does, for all of them.
   */
  async resultMany(requests: readonly GenerateRequest[]): Promise<DoneEvent[]> {
    void this.#model
    // `map` would skip the holes of a sparse list.
    const answers = Array.from(listOf<GenerateRequest>('requests', requests), (unchecked) => {
      const request = checkedRequest(unchecked)
      if ((request.prefill ?? 'exact') !== 'exact')
        throw new ForetokenError(
          'unsupported',
          'prompts are packed for exact prefill; ask for predicted ones one by one',
        )
      return withArguments('resultMany', () => {
        const { ids, trace } = this.#prompts.accept(request)
        return new AnswerState(ids, request, this, trace)
      })
    })
    for (const { ready } of answers) await ready
    const life = this.#opened()
    for (const { signal } of answers) life.follow(signal)
    try {
      life.hold(await this.#gate.enter({ signal: life.signal }))
      const work = this.#many(answers, life)
      // After an abort the place is given back only when the running step is over.
      life.hold(() => work.catch(() => {}))
      return await work
    } catch (error) {
      throw answers.find(({ failure }) => failure)?.failure ?? asForetokenError(error)
    } finally {
      await life.end()
      for (const answer of answers) answer.end(answer.error)
    }
  }

  async #many(answers: readonly AnswerState[], life: Lifetime): Promise<DoneEvent[]> {
    // If the tokens that were shown before complete the answer, its prompt is not read.
    const open = answers.filter(({ ended }) => !ended)
    for (const answer of open) answer.onAdmit()
    const reads = new Map<AnswerState, CachedPrompt>()
    try {
      if (this.#model.packs && open.length > 0) await this.#packed(open, reads, life.signal)
      const done: DoneEvent[] = []
      for (const answer of answers) {
        const read = reads.get(answer)
        reads.delete(answer)
        if (!answer.ended)
          for await (const _ of this.#decode(answer, read ?? (await this.#exact(answer, life.signal)), life.signal));
        await answer.whenCallbacksDone()
        for (const event of answer.events) if (event.type === 'done') done.push(event)
      }
      return done
    } finally {
      for (const { cache } of reads.values()) this.#model.drop(cache)
    }
  }

  /** Reads prompts together, and puts the logits and the cache of each into `reads`. */
  async #packed(
    answers: readonly AnswerState[],
    reads: Map<AnswerState, CachedPrompt>,
    signal: AbortSignal,
  ): Promise<void> {
    const lengths = answers.map(({ ids }) => ids.length)
    const columns = lengths.reduce((most, length) => Math.max(most, length), 0)
    const bins = binsOf(lengths, columns)
    const rows = new Map<AnswerState, { readonly row: number; readonly offset: number }>()
    for (const [row, { prompts }] of bins.entries())
      for (const { index, offset } of prompts) rows.set(at(answers, index), { row, offset })
    const placed = answers.map((answer) => ({ ids: answer.ids, row: 0, offset: 0, ...rows.get(answer) }))
    for (const answer of answers) answer.onPrefill(0, answer.ids.length)
    const read = await this.#step(() => this.#model.runPacked(placed, bins.length, columns), signal)
    this.#count.prefill_tokens += lengths.reduce((sum, length) => sum + length, 0)
    for (const [index, { logits, layers }] of read.entries()) {
      const answer = at(answers, index)
      const tokens = answer.ids.length
      reads.set(answer, { logits, cache: this.#model.cacheOf(layers, tokens), tokens })
    }
    for (const answer of answers) answer.onPrefill(answer.ids.length, answer.ids.length)
  }

  /** Computes an answer once it has its place; yields after each token. */
  async *#answered(answer: AnswerState, prefill: 'exact' | 'predicted'): AsyncGenerator<void> {
    const { signal, ready } = answer
    if (ready) await ready
    answer.onAdmit()
    const read = prefill === 'predicted' ? await this.#predicted(answer) : await this.#exact(answer, signal)
    yield* this.#decode(answer, read, signal)
  }

  /** Decodes, and yields after each step. Owns the cache of `read` from its first step on. */
  async *#decode(answer: AnswerState, read: CachedPrompt, signal: AbortSignal): AsyncGenerator<void> {
    let { logits, tokens } = read
    let cache: OrtCache | undefined = read.cache
    try {
      for (;;) {
        throwIfAborted(signal)
        maskTokenless(logits, this.archive)
        const ids = answer.chooseTokens(logits)
        if (!ids) return
        yield
        const past = cache
        cache = undefined
        ;({ logits, cache } = await this.#run(ids, past, tokens, signal))
        tokens += ids.length
        this.#count.decode_tokens += ids.length
      }
    } finally {
      if (cache) this.#model.drop(cache)
    }
  }

  /** Answers a request; resolves with the last event. */
  result(request: GenerateRequest): Promise<DoneEvent> {
    return resultOf(this.generate(request))
  }

  /** Ends all requests as `aborted`, and frees the session. May be called twice. */
  async close(): Promise<void> {
    this.#closed = true
    this.#closing.abort(closedError())
    this.#prompts.close()
    this.guides?.close()
    await Promise.allSettled([...this.#open].map((life) => life.end(closedError())))
    const free = await this.#session.enter()
    await this.#close()
    if (this.#closesReader) await this.#reader?.close()
    free()
  }

  /** Begins the lifetime of a request, which `close` ends. Throws `aborted` after `close`. */
  #opened(): Lifetime {
    if (this.#closed) throw closedError()
    const life = new Lifetime()
    this.#open.add(life)
    life.hold(() => this.#open.delete(life))
    return life
  }

  /**
   * Runs a step when no other step runs. Throws `aborted` instead if its request has ended by then.
   */
  async #step<T>(run: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const free = await this.#session.enter(signal && { signal })
    try {
      if (this.#closed) throw closedError()
      throwIfAborted(signal)
      this.#count.passes++
      return await run()
    } finally {
      free()
    }
  }

  /** Runs tokens after `past`, which cannot be used again, even after a failure. */
  async #run(ids: readonly number[], past: OrtCache, tokens: number, signal: AbortSignal) {
    let begun = false
    const run = () => {
      begun = true
      return this.#model.run(ids, past, tokens)
    }
    try {
      return await this.#step(run, signal)
    } finally {
      if (!begun) this.#model.drop(past)
    }
  }

  async #exact(answer: AnswerState, signal: AbortSignal): Promise<CachedPrompt> {
    const { ids } = answer
    answer.onPrefill(0, ids.length)
    const read = await this.#run(ids, this.#model.cacheOf([], 0), 0, signal)
    this.#count.prefill_tokens += ids.length
    try {
      answer.onPrefill(ids.length, ids.length)
    } catch (error) {
      this.#model.drop(read.cache)
      throw error
    }
    return { ...read, tokens: ids.length }
  }

  /**
   * Reads the prompt in the Rust core and returns its logits and cache, from which the session
   * decodes.
   */
  async #predicted(answer: AnswerState): Promise<CachedPrompt> {
    const { ids } = answer
    const reader = this.#reader
    // A request for prediction without a predictor was refused earlier.
    if (!reader) throw new ForetokenError('internal', 'there is no reader to predict the prompt')
    answer.onPrefill(0, ids.length)
    const { logits, layers, predicted } = await reader.workbench.cacheOf(ids, 'predicted')
    if (predicted) answer.onCache('predicted')
    return { logits, cache: this.#model.cacheOf(layers, ids.length), tokens: ids.length }
  }
}

function closedError(): ForetokenError {
  return new ForetokenError('aborted', 'the engine was closed')
}
