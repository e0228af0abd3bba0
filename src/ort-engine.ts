/**
 * An ONNX model behind the same requests and events as `Engine`: for families that the Rust core does not have, and as the decoder of a cache
 * that the Rust core predicts, so that an ONNX deployment gets its first token sooner without changing its model.
 *
 * Steps of all requests take turns in one session, which has one batch; a request's cache is whole tensors of its own, so that few run at once.
 */
import { Answer } from './answer.ts'
import type { AnyEngine } from './any-engine.ts'
import { type OrtCache, OrtModel, type OrtOptions } from './backend/ort.ts'
import type { Engine } from './engine.ts'
import { asForetokenError, ForetokenError } from './errors.ts'
import { readTokenizer } from './model/huggingface.ts'
import { readJson } from './model/source.ts'
import type { GenerateRequest } from './options.ts'
import { OrtSubmission } from './ort-submission.ts'
import { binsOf } from './pack/bins.ts'
import { Places } from './places.ts'
import type { DoneEvent, GenerateEvent } from './stream/events.ts'
import type { PromptOptions } from './tokens/prompt.ts'
import { type PrepareOptions, Prompts } from './tokens/prompts.ts'
import type { SpawnText } from './tokens/text-messages.ts'
import { createTokenizer, type Tokenizer } from './tokens/tokenizer.ts'
import { throwIfAborted } from './turn.ts'
import type { ByteSource, ModelArchive, ModelFiles, PreparedPrompt, PromptInput } from './types.ts'

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

/** What an ONNX folder tells of its model: of an archive, all but the weights. */
type Told = Pick<ModelArchive, 'name' | 'config' | 'tokenizer'>

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
  readonly #session = new Places(1)
  readonly #places: Places
  /** Answers being made. */
  readonly #open = new Set<OrtSubmission>()
  readonly #count = { passes: 0, prefill_tokens: 0, decode_tokens: 0 }
  #closed = false

  /**
   * A folder with config.json, tokenizer.json and one .onnx file (`onnx/` in front or not); with a reader the .onnx file is enough. Throws `not_found`, `bad_model`, `unsupported`, and `wrong_model`
   * for a reader of other shapes.
   */
  static async load(files: ModelFiles, options: OrtEngineOptions): Promise<OrtEngine> {
    const begun = performance.now()
    const file = onnxFile(files)
    const told = await toldOf(files, options.reader)
    const bytes = await whole(await files.open(file))
    const model = await OrtModel.open(`${files.name}/${file}`, bytes, {
      ...options,
      externalData: await externalOf(files, file, options),
    })
    try {
      return new OrtEngine(told, model, options, begun)
    } catch (error) {
      await model.close()
      throw error
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
    this.#places = new Places(maxRunning, maxWaiting)
    this.loadMs = performance.now() - begun
  }

  /** How prompts are predicted; undefined without a reader that predicts. */
  get prediction(): Engine['prediction'] {
    return this.#reader?.prediction
  }

  /** As `Engine.promptIds`. */
  promptIds(prompt: PromptInput, options: PromptOptions & { onTemplate?: () => void } = {}): number[] {
    return this.#prompts.ids(prompt, options)
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
      running: this.#places.taken,
      waiting: this.#places.waiting,
      pages_in_use: 0,
      prefix_pages: 0,
    }
  }

  /** Answers a prompt, token by token. Throws and rejects as `submit`. */
  async *generate(request: GenerateRequest): AsyncGenerator<GenerateEvent> {
    yield* this.submit({ ...request, prompt: await this.prepare(request.prompt, request) })
  }

  /** Takes a request on; its place is kept from now on. Throws as `Engine.submit`; `refined` and `auto` are `unsupported`. */
  submit(request: GenerateRequest): OrtSubmission {
    const { ids, trace } = this.#prompts.accept(request)
    const { prefill = 'exact' } = request
    if (prefill !== 'exact' && prefill !== 'predicted')
      throw new ForetokenError(
        'unsupported',
        `prefill ${prefill}: an ONNX cache is not refined; ask for exact or predicted`,
      )
    const answer = new Answer(ids, request, this, trace)
    const events = () => this.#events(answer, prefill)
    const submission = new OrtSubmission(answer, this.#places, events, () => this.#open.delete(submission))
    this.#open.add(submission)
    return submission
  }

  /**
   * Answers several prompts, exactly. Where the model takes a mask of rows by columns their prompts are read together, in rows that are packed by best-fit
   * decreasing (Prepacking, arXiv 2404.09529, section 3); else one by one. Rejects as `generate`, for all.
   */
  async resultMany(requests: readonly GenerateRequest[]): Promise<DoneEvent[]> {
    const answers = requests.map((request) => {
      if ((request.prefill ?? 'exact') !== 'exact')
        throw new ForetokenError(
          'unsupported',
          'prompts are packed for exact prefill; ask for predicted ones one by one',
        )
      const { ids, trace } = this.#prompts.accept(request)
      return new Answer(ids, request, this, trace)
    })
    const free = await this.#places.take()
    try {
      for (const answer of answers) answer.onAdmit()
      const reads = this.#model.packs && answers.length > 0 ? await this.#packed(answers) : undefined
      const done: DoneEvent[] = []
      for (const [index, answer] of answers.entries())
        for await (const event of this.#decode(answer, reads?.[index] ?? (await this.#exact(answer))))
          if (event.type === 'done') done.push(event)
      return done
    } catch (error) {
      throw asForetokenError(error)
    } finally {
      free()
    }
  }

  async #packed(answers: readonly Answer[]): Promise<Read[]> {
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
    const read = await this.#step(() => this.#model.runPacked(places, bins.length, columns))
    this.#count.prefill_tokens += prompts.reduce((sum, { length }) => sum + length, 0)
    return read.map(({ logits, layers }, index) => {
      const tokens = prompts[index]!.length
      return { logits, cache: this.#model.cacheOf(layers, tokens), tokens }
    })
  }

  async *#events(answer: Answer, prefill: 'exact' | 'predicted'): AsyncGenerator<GenerateEvent> {
    try {
      answer.onAdmit()
      yield* this.#decode(answer, prefill === 'predicted' ? await this.#predicted(answer) : await this.#exact(answer))
    } catch (error) {
      throw asForetokenError(error)
    }
  }

  async *#decode(answer: Answer, read: Read): AsyncGenerator<GenerateEvent> {
    let { logits, cache, tokens } = read
    try {
      for (;;) {
        throwIfAborted(answer.signal)
        const id = answer.take(logits)
        yield* answer.events.splice(0)
        if (id === undefined) return
        const past = cache
        ;({ logits, cache } = await this.#step(() => this.#model.run([id], past, tokens++)))
        this.#count.decode_tokens++
      }
    } finally {
      this.#model.drop(cache)
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
    for (const submission of this.#open) submission.cancel()
    const free = await this.#session.take()
    await this.#model.close()
    if (this.#closesReader) await this.#reader?.close()
    free()
  }

  /** When no other step runs. */
  async #step<T>(run: () => Promise<T>): Promise<T> {
    const free = await this.#session.take()
    try {
      if (this.#closed) throw new ForetokenError('aborted', 'the engine was closed')
      this.#count.passes++
      return await run()
    } finally {
      free()
    }
  }

  async #exact(answer: Answer): Promise<Read> {
    const { ids } = answer
    answer.onPrefill(0, ids.length)
    const read = await this.#step(() => this.#model.run(ids, this.#model.cacheOf(emptyLayers(this.#model), 0), 0))
    this.#count.prefill_tokens += ids.length
    answer.onPrefill(ids.length, ids.length)
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

function onnxFile({ name, files }: ModelFiles): string {
  const found = files.filter((file) => file.endsWith('.onnx'))
  const preferred = ['model.onnx', 'decoder_model_merged.onnx'].flatMap((wanted) =>
    found.filter((file) => file.endsWith(wanted)),
  )
  const file = preferred[0] ?? (found.length === 1 ? found[0] : undefined)
  if (file) return file
  throw new ForetokenError(
    'not_found',
    found.length === 0
      ? `${name} has no .onnx file`
      : `${name} has ${found.join(', ')}; keep one, or name it model.onnx`,
  )
}

/** Files of weights beside the model, under the names that exports use. */
async function externalOf(files: ModelFiles, file: string, { externalData }: OrtOptions) {
  if (externalData) return externalData
  const folder = file.slice(0, file.lastIndexOf('/') + 1)
  const beside = files.files.filter(
    (one) => one.startsWith(folder) && /\.(onnx_data(_\d+)?|onnx\.data|data)$/.test(one),
  )
  return Promise.all(
    beside.map(async (one) => ({ path: one.slice(folder.length), data: await whole(await files.open(one)) })),
  )
}

async function whole(source: ByteSource): Promise<Uint8Array> {
  const bytes = new Uint8Array(source.size)
  await source.read(0, bytes)
  return bytes
}

/** What is needed of config.json: any family's, since the graph computes. */
async function toldOf(files: ModelFiles, reader: Engine | undefined): Promise<Told> {
  // An .onnx file alone is enough beside the same model in the Rust core.
  if (reader && !files.files.includes('tokenizer.json')) return { ...reader.archive, name: files.name }
  const json = await readJson(await files.open('config.json'))
  const { vocab_size: vocab, max_position_embeddings: maxContext = 4096 } = json
  if (!Number.isInteger(vocab) || !Number.isInteger(maxContext))
    throw new ForetokenError(
      'bad_model',
      `${files.name}/config.json tells no vocab_size; is it a causal language model's?`,
    )
  // What a prediction costs is counted by the reader's shapes.
  const config = { ...reader?.archive.config, vocab, maxContext } as ModelArchive['config']
  return { name: files.name, config, tokenizer: await readTokenizer(files, json) }
}
