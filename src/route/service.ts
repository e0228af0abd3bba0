/**
 * Answers requests whose prompts may be read elsewhere: by this engine, by a companion whose K and
 * V come here, by a companion that relays the whole answer, or by two of these at once. After any
 * failure the answer continues here after the tokens that were shown: none is lost, and none is
 * shown twice.
 */
import { withArguments, wrong } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import { type Checks, checkedFields, nameOf, withMethods } from '../base/fields.ts'
import { Lifetime } from '../base/lifetime.ts'
import type { PreparedPrompt, PromptInput } from '../base/prompt.ts'
import { after } from '../base/timeout.ts'
import type { SchedulerStats } from '../decode/scheduler.ts'
import type { Embeddings, EmbedInput, EmbedOptions } from '../engine/embed.ts'
import type { Engine } from '../engine/engine.ts'
import { generateFrom } from '../engine/generate.ts'
import type { PrepareOptions } from '../engine/guides.ts'
import { submitMany } from '../engine/many.ts'
import { checkedRequest, type GenerateOptions, type GenerateRequest, type ManyOptions } from '../engine/options.ts'
import type { Ranking, RerankOptions } from '../engine/rerank.ts'
import { allWays, isAnyEngine, type Outcome, type TextService, type Way } from '../engine/service.ts'
import type { GenerateEvent } from '../stream/events.ts'
import type { PromptOptions } from '../tokens/prompt.ts'
import type { RemoteCompanion } from '../transfer/remote.ts'
import type { Companion } from './companions.ts'
import { type AnswerOptions, answerChecks, type Deciding, type RoutedAnswer, type TokenRequest } from './request.ts'
import { Route } from './route.ts'
import { Router } from './router.ts'

export interface RoutedOptions extends AnswerOptions {
  /** The way of all requests that may take it. Default: the fastest by measured costs. */
  readonly always?: Way
  readonly router?: Deciding
}

/** The checks of `RoutedOptions`. */
export const routedChecks: Checks<RoutedOptions> = {
  ...answerChecks,
  always: nameOf(allWays),
  router: withMethods<Deciding>('decide', 'report'),
}

/**
 * How often companions are asked for their status, and how long each may take to answer, in
 * milliseconds.
 */
const statusMs = 5000

export class Routed implements TextService {
  readonly router: Deciding
  readonly #engine: Engine
  readonly #options: RoutedOptions
  #asked = Number.NEGATIVE_INFINITY

  /** Throws `bad_argument`. */
  constructor(engine: Engine, wanted: RoutedOptions) {
    const options = withArguments('Routed', () => {
      if (!isAnyEngine(engine)) throw wrong('engine', 'an Engine', engine)
      return checkedFields('the options', wanted, routedChecks)
    })
    this.#engine = engine
    this.#options = options
    this.router = options.router ?? new Router(options.companions, { always: options.always })
  }

  get archive(): TextService['archive'] {
    return this.#engine.archive
  }

  get tokenizer(): TextService['tokenizer'] {
    return this.#engine.tokenizer
  }

  /** Maximum number of tokens in a prompt and its answer together. */
  get context(): number {
    return this.#engine.context
  }

  get loadMs(): number {
    return this.#engine.loadMs
  }

  get prediction(): TextService['prediction'] {
    return this.#engine.prediction
  }

  get backend(): TextService['backend'] {
    return this.#engine.backend
  }

  /** The counts of the engine here; what companions compute is not among them. */
  get stats(): SchedulerStats {
    return this.#engine.stats
  }

  /** Returns the token ids of a prompt, as `Engine.promptIds` does. */
  promptIds(prompt: PromptInput, options: PromptOptions & { onTemplate?: () => void } = {}): number[] {
    return this.#engine.promptIds(prompt, options)
  }

  /** Makes token ids of a prompt without blocking the host, as `Engine.prepare` does. */
  prepare(prompt: PromptInput, options: PrepareOptions = {}): Promise<PreparedPrompt> {
    return this.#engine.prepare(prompt, options)
  }

  /**
   * Answers a prompt or a whole request, event by event. The request is submitted on the first
   * `next()`, not before. Rejects with what `prepare` and `submit` throw.
   */
  generate(prompt: PromptInput | GenerateRequest, options: GenerateOptions = {}): AsyncGenerator<GenerateEvent> {
    return generateFrom(this, prompt, options)
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
   * Submits a request at once, and decides its way. Throws the errors of `Engine.submit` about its
   * prompt; its other failures come with the events. Read the answer, cancel it or abort the
   * request's signal: until then it holds cached pages and its companion.
   */
  submit(request: GenerateRequest): RoutedAnswer {
    const checked = checkedRequest(request)
    const { ids, chunks: marked, trace } = this.#engine.accept(checked)
    // An answer that may move must draw the same numbers wherever it is made.
    const { seed = randomSeed() } = checked
    // The status is asked for after an answer, not during one: on a core that is busy with a pass,
    // the delay would be counted as the network's.
    const onEnd = () => {
      if (performance.now() - this.#asked > statusMs) void this.refresh()
    }
    if (this.#asked === Number.NEGATIVE_INFINITY) void this.refresh()
    const { chunks: _, ...rest } = checked
    const routed: TokenRequest = { ...rest, prompt: ids, raw: true, seed, marked }
    return new Route(this.#engine, this.#options, this.router, routed, trace, onEnd)
  }

  /** Makes an embedding of each text here, as `Engine.embed` does. */
  embed(texts: EmbedInput, options: EmbedOptions = {}): Promise<Embeddings> {
    return this.#engine.embed(texts, options)
  }

  /** Scores documents here, as `Engine.rerank` does. */
  rerank(query: string, documents: readonly string[], options: RerankOptions = {}): Promise<Ranking> {
    return this.#engine.rerank(query, documents, options)
  }

  /** Computes marked chunks that wait to be kept here, as `Engine.keepChunks` does. */
  keepChunks(): Promise<void> {
    return this.#engine.keepChunks()
  }

  /** Asks every companion for its status. One that does not answer has failed. Never rejects. */
  async refresh(): Promise<void> {
    const { closing } = this.#engine
    if (closing.aborted) return
    this.#asked = performance.now()
    await Promise.all(this.#options.companions.list.map((companion) => this.#ask(companion, closing)))
  }

  /** Closes the engine here, which ends all requests as `aborted`. May be called twice. */
  close(): Promise<void> {
    return this.#engine.close()
  }

  async #ask(companion: Companion<RemoteCompanion>, closing: AbortSignal): Promise<void> {
    const { companions } = this.#options
    const now = () => performance.now()
    if (!companion.breaker.enter(now())) return
    const life = new Lifetime().follow(closing)
    life.hold(after(statusMs, () => void life.end()))
    try {
      const before = this.#engine.stats
      const status = await companion.client.status(life.signal)
      if (status.model !== this.#engine.identity)
        throw new ForetokenError('wrong_model', `${companion.name} runs another model`)
      const { rtt_ms: rttMs, prefill_ms_per_token: msPerToken, running, waiting, codecs } = status
      const sendsKv = codecs.length > 0
      const late = computed(before, this.#engine.stats)
      companion.costs.learnStatus({ rttMs, late, msPerToken, prompts: running / 2 + waiting, sendsKv }, now())
      companions.report(companion, 'succeeded', now())
    } catch {
      companions.report(companion, closing.aborted ? 'left' : 'failed', now())
    } finally {
      await life.end()
    }
  }
}

function randomSeed(): number {
  const [seed = 0] = crypto.getRandomValues(new Uint32Array(1))
  return seed
}

/** Returns true if an engine has computed between two readings of its counts. */
function computed(before: SchedulerStats, after: SchedulerStats): boolean {
  return before.running > 0 || after.running > 0 || before.passes !== after.passes
}
