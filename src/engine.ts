/**
 * The data path, in order:
 *
 *     request -> template -> token ids -> pack -> prefill -> KV cache -> decode -> stream
 */
import type { Backend } from './backend/backend.ts'
import { createWasmBackend } from './backend/wasm.ts'
import { createSampler } from './decode/sampling.ts'
import { scoreTokens } from './decode/score.ts'
import { Session } from './decode/session.ts'
import { createStopMatcher } from './decode/stop.ts'
import { PagedCache } from './kv/paged.ts'
import { Llama } from './model/llama.ts'
import { openModel } from './model/open.ts'
import { contextOf, type EngineOptions, type GenerateOptions, modelOptions, type PrefillRequest } from './options.ts'
import { pack } from './pack/pack.ts'
import { ExactPrefill } from './prefill/exact.ts'
import { createDetokenizer } from './stream/detokenize.ts'
import type { GenerateEvent } from './stream/events.ts'
import { promptIds } from './tokens/prompt.ts'
import { createTokenizer, type Tokenizer } from './tokens/tokenizer.ts'
import { Trace } from './trace.ts'
import { nextTurn } from './turn.ts'
import { type Message, type ModelArchive, type ModelFiles, pageTokens } from './types.ts'

export class Engine {
  readonly archive: ModelArchive
  readonly context: number
  readonly tokenizer: Tokenizer
  readonly backend: Backend
  readonly #model: Llama
  readonly #cache: PagedCache
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
      return new Engine(archive, backend, model, context, begun)
    } catch (error) {
      await backend.close()
      throw error
    }
  }

  private constructor(archive: ModelArchive, backend: Backend, model: Llama, context: number, begun: number) {
    this.archive = archive
    this.backend = backend
    this.context = context
    this.tokenizer = createTokenizer(archive.tokenizer)
    this.#model = model
    this.#cache = new PagedCache(model.pool, Math.ceil(context / pageTokens))
    this.#prefill = new ExactPrefill(model)
    this.#loadMs = performance.now() - begun
  }

  /** Answers a prompt (one user message, or text to continue with `raw`) or a conversation, token by token. */
  async *generate(prompt: string | readonly Message[], options: GenerateOptions = {}): AsyncGenerator<GenerateEvent> {
    const trace = new Trace()
    const ids = this.promptIds(prompt, options)
    trace.mark('tokenized')
    yield { type: 'prompt', ids }
    const room = this.context - ids.length
    const limit = Math.min(options.maxTokens ?? room, room)
    const sampler = createSampler(options)
    const detokenizer = createDetokenizer(this.tokenizer)
    const stops = createStopMatcher(options.stop ?? [])
    const eos = new Set(options.ignoreEos ? [] : this.archive.tokenizer.eosIds)
    const answer: number[] = []
    let text = ''
    let ended = false
    const session = await this.prefill(ids, options)
    trace.mark('prefilled')
    try {
      while (answer.length < limit) {
        const token = sampler.sample(session.logits, [...ids, ...answer], ids.length)
        answer.push(token.id)
        const shown = stops.push(eos.has(token.id) ? '' : detokenizer.push(token.id))
        ended = shown.stopped || eos.has(token.id)
        const last = ended || answer.length === limit
        const show =
          last && !shown.stopped ? shown.text + stops.push(detokenizer.flush()).text + stops.flush() : shown.text
        text += show
        trace.mark('first')
        trace.mark('done')
        yield { type: 'token', text: show, ...token }
        if (last) break
        await nextTurn(options.signal)
        await session.step(token.id)
      }
    } finally {
      session.release()
    }
    yield {
      type: 'done',
      finishReason: ended ? 'stop' : answer.length === room ? 'context' : 'length',
      text,
      ids: answer,
      timings: trace.timings(this.#loadMs, ids.length, answer.length),
      prefill: this.#prefill.kind,
      memory: { wasm_bytes: this.backend.memoryBytes() },
      build: this.backend.build,
    }
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
