/**
 * An ONNX model behind the same requests and events as `Engine`: for families that the Rust core does not have, and as the decoder of a cache
 * that the Rust core predicts, so that an ONNX deployment gets its first token sooner without changing its model.
 *
 * Steps of all requests take turns in one session, which has one batch; a request's cache is whole tensors of its own, so that few run at once.
 */

import type { ModelFiles } from '../base/bytes.ts'
import { Callback } from '../base/callback.ts'
import { fieldsOf, functionOf, listOf, withArguments, wrong } from '../base/checks.ts'
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import { Gate } from '../base/gate.ts'
import { Lifetime } from '../base/lifetime.ts'
import type { ModelArchive } from '../base/model.ts'
import type { PreparedPrompt, PromptInput } from '../base/prompt.ts'
import { Shares } from '../base/shares.ts'
import { throwIfAborted } from '../base/turn.ts'
import { Answer } from '../engine/answer.ts'
import { type AnyEngine, isAnyEngine } from '../engine/any.ts'
import type { Engine } from '../engine/engine.ts'
import { checkedRequest, type GenerateRequest } from '../engine/options.ts'
import { checkedFiles } from '../model/open.ts'
import { maskTokenless } from '../model/tokenless.ts'
import type { DoneEvent, GenerateEvent } from '../stream/events.ts'
import type { PromptOptions } from '../tokens/prompt.ts'
import { type PrepareOptions, Prompts } from '../tokens/prompts.ts'
import type { SpawnText } from '../tokens/text-messages.ts'
import { createTokenizer, type Tokenizer } from '../tokens/tokenizer.ts'
import { binsOf } from './bins.ts'
import { externalOf, onnxFile, type Told, toldOf, whole } from './folder.ts'
import { type OrtCache, OrtModel, type OrtOptions } from './session.ts'
import { OrtSubmission } from './submission.ts'

export interface OrtEngineOptions extends OrtOptions {
  /** The same model in the Rust core, with a predictor: reads prompts whose `prefill` is not `exact`. */
  readonly reader?: Engine
  /** Whether the reader is closed with this engine. Default: no. */
  readonly closesReader?: boolean
  /** Tokens that one request may have. Default: the model's, at most 4,096. */
  readonly context?: number
  /** Requests that hold a cache at once. Default 8. */
  readonly maxRunning?: number
  /** Requests that may wait beside them; one more is refused as `busy`. Default 256. */
  readonly maxWaiting?: number
  /** As an engine's. */
  readonly spawnText?: SpawnText
}

export class OrtEngine implements AnyEngine {
  readonly archive: ModelArchive
  readonly tokenizer: Tokenizer
  readonly context: number
  readonly loadMs: number
  readonly backend: { readonly build: string; memoryBytes(): number }
  readonly #model: OrtModel
  readonly #prompts: Prompts
  readonly #reader: Engine | undefined
  readonly #closesReader: boolean
  /** One step at a time: a session runs no two. */
  readonly #session = new Gate({ stocks: [new Shares(1)] })
  readonly #gate: Gate
  /** Of all requests that hold something, or wait for it. */
  readonly #open = new Set<Lifetime>()
  readonly #count = { passes: 0, prefill_tokens: 0, decode_tokens: 0 }
  #closed = false

  /**
   * A folder with config.json, tokenizer.json and one .onnx file (`onnx/` in front or not); with a reader the .onnx file is enough. Throws `not_found`, `bad_model`, `unsupported`, and `wrong_model`
   * for a reader of other shapes.
   */
  static async load(given: ModelFiles, wanted: OrtEngineOptions): Promise<OrtEngine> {
    const begun = performance.now()
    const { files, options } = withArguments('OrtEngine.load', () => {
      const options = fieldsOf('the options', wanted)
      functionOf('ort.InferenceSession.create', options.ort?.InferenceSession?.create)
      if (options.reader !== undefined && !isAnyEngine(options.reader))
        throw wrong('reader', 'an Engine', options.reader)
      return { files: checkedFiles(given), options }
    })
    let model: OrtModel | undefined
    try {
      const file = onnxFile(files)
      const told = await toldOf(files, options.reader)
      const bytes = await whole(await files.open(file))
      model = await OrtModel.open(`${files.name}/${file}`, bytes, {
        ...options,
        externalData: await externalOf(files, file, options),
      })
      return new OrtEngine(told, model, options, begun)
    } catch (error) {
      await model?.close()
      throw asForetokenError(error, 'io', 'reading the model')
    }
  }

  private constructor(
    told: Told,
    model: OrtModel,
    {
      reader,
      closesReader = false,
      context,
      executionProviders,
      maxRunning = 8,
      maxWaiting = 256,
      spawnText,
    }: OrtEngineOptions,
    begun: number,
  ) {
    const { config } = told
    if (reader) checkReader(told.name, reader, model)
    this.archive = { ...told, tensors: new Map(), fingerprint: '' }
    this.tokenizer = createTokenizer(told.tokenizer)
    this.context = Math.min(context ?? 4096, config.maxContext)
    this.#prompts = new Prompts(this.tokenizer, told.tokenizer, this.context, spawnText)
    this.backend = {
      build: `onnx ${executionProviders?.join('+') ?? 'default'}`,
      memoryBytes: () => reader?.backend.memoryBytes() ?? 0,
    }
    this.#model = model
    this.#reader = reader
    this.#closesReader = closesReader
    this.#gate = new Gate({ stocks: [new Shares(maxRunning)], maxWaiting })
    this.loadMs = performance.now() - begun
  }

  /** How prompts are predicted; undefined without a reader that predicts. */
  get prediction(): Engine['prediction'] {
    return this.#reader?.prediction
  }

  /** As `Engine.promptIds`. */
  promptIds(prompt: PromptInput, options: PromptOptions & { onTemplate?: () => void } = {}): number[] {
    const fields = withArguments('promptIds', () => fieldsOf('the options', options, 'be absent'))
    return this.#prompts.ids(prompt, { ...fields, onTemplate: new Callback('onTemplate', fields.onTemplate).call })
  }

  /** As `Engine.prepare`. */
  prepare(prompt: PromptInput, options: PrepareOptions = {}): Promise<PreparedPrompt> {
    return this.#prompts.prepare(prompt, options)
  }

  /** What has been done since the engine was loaded; pages are the Rust core's. */
  get stats(): AnyEngine['stats'] {
    return {
      ...this.#count,
      cached_tokens: 0,
      preemptions: 0,
      running: this.#gate.running,
      waiting: this.#gate.waiting,
      pages_in_use: 0,
      prefix_pages: 0,
    }
  }

  /** Answers a prompt, token by token. Throws and rejects as `submit`. */
  async *generate(given: GenerateRequest): AsyncGenerator<GenerateEvent> {
    const request = checkedRequest(given)
    yield* this.submit({ ...request, prompt: await this.prepare(request.prompt, request) })
  }

  /** Takes a request on; its place is kept from now on. Throws as `Engine.submit`; `refined` and `auto` are `unsupported`. */
  submit(given: GenerateRequest): OrtSubmission {
    const request = checkedRequest(given)
    const { ids, trace } = this.#prompts.accept(request)
    const { prefill = 'exact' } = request
    if (prefill !== 'exact' && prefill !== 'predicted')
      throw new ForetokenError(
        'unsupported',
        `prefill ${prefill}: an ONNX cache is not refined; ask for exact or predicted`,
      )
    const answer = withArguments('submit', () => new Answer(ids, request, this, trace))
    const life = this.#opened()
    try {
      return new OrtSubmission(answer, this.#gate, () => this.#events(answer, prefill), life)
    } catch (error) {
      void life.end()
      throw error
    }
  }

  /**
   * Answers several prompts, exactly. Where the model takes a mask of rows by columns their prompts are read together, in rows that are packed by best-fit
   * decreasing (Prepacking, arXiv 2404.09529, section 3); else one by one. Rejects as `generate`, for all.
   */
  async resultMany(requests: readonly GenerateRequest[]): Promise<DoneEvent[]> {
    const answers = listOf<GenerateRequest>('requests', requests).map((given) => {
      const request = checkedRequest(given)
      if ((request.prefill ?? 'exact') !== 'exact')
        throw new ForetokenError(
          'unsupported',
          'prompts are packed for exact prefill; ask for predicted ones one by one',
        )
      const { ids, trace } = this.#prompts.accept(request)
      return withArguments('resultMany', () => new Answer(ids, request, this, trace))
    })
    const life = this.#opened()
    for (const { signal } of answers) life.follow(signal)
    try {
      life.hold(await this.#gate.enter({ signal: life.signal }))
      const work = this.#many(answers, life)
      // An abort gives the place back once the step under way is over.
      life.hold(() => work.catch(() => {}))
      return await work
    } catch (error) {
      throw answers.find(({ failure }) => failure)?.failure ?? asForetokenError(error)
    } finally {
      await life.end()
    }
  }

  async #many(answers: readonly Answer[], life: Lifetime): Promise<DoneEvent[]> {
    // What was shown before may be all of an answer: nothing is read for that.
    const open = answers.filter(({ ended }) => !ended)
    for (const answer of open) answer.onAdmit()
    const reads = new Map<Answer, Read>()
    try {
      if (this.#model.packs && open.length > 0) await this.#packed(open, reads, life.signal)
      const done: DoneEvent[] = []
      for (const answer of answers) {
        const read = reads.get(answer)
        reads.delete(answer)
        for await (const event of answer.ended ? answer.events.splice(0) : this.#whole(answer, read, life.signal))
          if (event.type === 'done') {
            await answer.settle()
            done.push(event)
          }
      }
      return done
    } finally {
      for (const { cache } of reads.values()) this.#model.drop(cache)
    }
  }

  async *#whole(answer: Answer, read: Read | undefined, signal: AbortSignal): AsyncGenerator<GenerateEvent> {
    yield* this.#decode(answer, read ?? (await this.#exact(answer, signal)), signal)
  }

  /** Reads prompts together, and puts what came of each into `reads`. */
  async #packed(answers: readonly Answer[], reads: Map<Answer, Read>, signal: AbortSignal): Promise<void> {
    const prompts = answers.map(({ ids }) => ids)
    const columns = prompts.reduce((most, { length }) => Math.max(most, length), 0)
    const bins = binsOf(
      prompts.map(({ length }) => length),
      columns,
    )
    const places = bins.flatMap(({ prompts: own }, row) =>
      own.map(({ index, offset }) => ({ index, ids: prompts[index]!, row, offset })),
    )
    places.sort((a, b) => a.index - b.index)
    for (const answer of answers) answer.onPrefill(0, answer.ids.length)
    const read = await this.#step(() => this.#model.runPacked(places, bins.length, columns), signal)
    this.#count.prefill_tokens += prompts.reduce((sum, { length }) => sum + length, 0)
    for (const [index, { logits, layers }] of read.entries()) {
      const tokens = prompts[index]!.length
      reads.set(answers[index]!, { logits, cache: this.#model.cacheOf(layers, tokens), tokens })
    }
    for (const answer of answers) answer.onPrefill(answer.ids.length, answer.ids.length)
  }

  async *#events(answer: Answer, prefill: 'exact' | 'predicted'): AsyncGenerator<GenerateEvent> {
    const { signal } = answer
    try {
      answer.onAdmit()
      const read = prefill === 'predicted' ? await this.#predicted(answer) : await this.#exact(answer, signal)
      yield* this.#decode(answer, read, signal)
    } catch (error) {
      throw asForetokenError(error)
    }
  }

  /** Owns the cache of `read` from here on. */
  async *#decode(answer: Answer, read: Read, signal: AbortSignal): AsyncGenerator<GenerateEvent> {
    let { logits, tokens } = read
    let cache: OrtCache | undefined = read.cache
    try {
      for (;;) {
        throwIfAborted(signal)
        maskTokenless(logits, this.archive)
        const id = answer.take(logits)
        yield* answer.events.splice(0)
        if (id === undefined) return
        const past = cache
        cache = undefined
        ;({ logits, cache } = await this.#run([id], past, tokens++, signal))
        this.#count.decode_tokens++
      }
    } finally {
      if (cache) this.#model.drop(cache)
    }
  }

  /** Reads all events; resolves with the last. */
  async result(request: GenerateRequest): Promise<DoneEvent> {
    for await (const event of this.generate(request)) if (event.type === 'done') return event
    throw new ForetokenError('internal', 'an answer has no end')
  }

  /** Ends all requests as `aborted`, and frees the session. */
  async close(): Promise<void> {
    this.#closed = true
    this.#prompts.close()
    await Promise.allSettled([...this.#open].map((life) => life.end(closedError())))
    const free = await this.#session.enter()
    await this.#model.close()
    if (this.#closesReader) await this.#reader?.close()
    free()
  }

  /** The lifetime of a request, known to `close`. */
  #opened(): Lifetime {
    if (this.#closed) throw closedError()
    const life = new Lifetime()
    this.#open.add(life)
    life.hold(() => this.#open.delete(life))
    return life
  }

  /** When no other step runs. Throws `aborted` instead where nobody wants it any more by then. */
  async #step<T>(run: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const free = await this.#session.enter({ signal })
    try {
      if (this.#closed) throw closedError()
      throwIfAborted(signal)
      this.#count.passes++
      return await run()
    } finally {
      free()
    }
  }

  /** Runs tokens behind `past`, which is used up, come what may. */
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

  async #exact(answer: Answer, signal: AbortSignal): Promise<Read> {
    const { ids } = answer
    answer.onPrefill(0, ids.length)
    const read = await this.#run(ids, this.#model.cacheOf(emptyLayers(this.#model), 0), 0, signal)
    this.#count.prefill_tokens += ids.length
    try {
      answer.onPrefill(ids.length, ids.length)
    } catch (error) {
      this.#model.drop(read.cache)
      throw error
    }
    return { ...read, tokens: ids.length }
  }

  /** The Rust core reads the prompt and says the first token; the session goes on from its cache. */
  async #predicted(answer: Answer): Promise<Read> {
    const { ids } = answer
    answer.onPrefill(0, ids.length)
    const { logits, layers, predicted } = await this.#reader!.workbench.cacheOf(ids, 'predicted')
    if (predicted) answer.onCache('predicted')
    return { logits, cache: this.#model.cacheOf(layers, ids.length), tokens: ids.length }
  }
}

interface Read {
  readonly logits: Float32Array
  readonly cache: OrtCache
  /** In the cache. */
  readonly tokens: number
}

function emptyLayers({ layers }: OrtModel) {
  return Array.from({ length: layers }, () => ({ k: new Float32Array(0), v: new Float32Array(0) }))
}

function checkReader(name: string, reader: Engine, model: OrtModel): void {
  const { layers, kvHeads, headDim } = reader.archive.config
  if (layers !== model.layers || kvHeads !== model.kvHeads || headDim !== model.headDim)
    throw new ForetokenError(
      'wrong_model',
      `${reader.archive.name} has ${layers} layers of ${kvHeads} x ${headDim} K and V, and ${name} ${model.layers} of ${model.kvHeads} x ${model.headDim}; load the same model in both`,
    )
}

function closedError(): ForetokenError {
  return new ForetokenError('aborted', 'the engine was closed')
}
