/**
 * Requests that may be read elsewhere: here, by a companion whose K and V come here, by a companion that answers whole, or both at
 * once. Whatever fails, the answer goes on here behind the tokens that were shown: none is lost, none comes twice.
 */
import { Answer } from './answer.ts'
import type { SchedulerStats } from './decode/scheduler.ts'
import type { Engine } from './engine.ts'
import { asForetokenError, ForetokenError } from './errors.ts'
import type { ExpectedKv } from './kv-receiver.ts'
import type { GenerateRequest } from './options.ts'
import { after, deadline } from './prefill/patience.ts'
import type { RemoteCompanion } from './prefill/remote.ts'
import type { Companions, Ending } from './route/companions.ts'
import type { Way } from './route/costs.ts'
import { type Decision, Router } from './route/router.ts'
import type { DoneEvent, GenerateEvent, TokenEvent } from './stream/events.ts'
import { isPrepared } from './tokens/prompt.ts'
import type { PrepareOptions } from './tokens/prompts.ts'
import { Trace } from './trace.ts'
import type { PreparedPrompt, PromptInput, WireCodec } from './types.ts'

export interface RoutedOptions {
  readonly companions: Companions<RemoteCompanion>
  /** How K and V are sent. Default: as the pages here hold them, without loss. */
  readonly codec?: WireCodec
  /** Ways that requests may take beside `local`. Default: all. */
  readonly ways?: readonly Way[]
  /** A relayed answer goes on here as soon as its K and V have come. Default false: the companion decodes faster. */
  readonly handOver?: boolean
  /** Prompts with fewer tokens that are not cached are read here. Default 32. */
  readonly leastTokens?: number
  /** The way of all requests that may take it. Default: the quickest by measured cost. */
  readonly always?: Way
  readonly router?: Deciding
}

/** What decides. */
export type Deciding = Pick<Router<RemoteCompanion>, 'decide' | 'report'>

/** Which way a request took, and what was expected of it; milliseconds to the first token. */
export interface RouteReport {
  readonly way: Way
  readonly companion?: string
  readonly predicted_ms: number
  readonly actual_ms?: number
  /** What each way should have taken. */
  readonly considered: Readonly<Partial<Record<Way, number>>>
  /** Why the companion's part was given up; the answer is whole nevertheless. */
  readonly fell_back?: string
}

/** An answer's events, for one reader; as a `Submission` has them. Read it or cancel it: it holds the prompt's cached pages. */
export interface RoutedAnswer extends AsyncIterable<GenerateEvent> {
  readonly soFar: Pick<DoneEvent, 'cached_tokens' | 'prefill' | 'timings' | 'exact_from'>
  readonly route: RouteReport
  cancel(): void
}

/** What is learned of companions is asked for again after so long. */
const statusMs = 5000

export class Routed {
  readonly router: Deciding
  readonly #engine: Engine
  readonly #options: RoutedOptions
  #asked = Number.NEGATIVE_INFINITY

  constructor(engine: Engine, options: RoutedOptions) {
    this.#engine = engine
    this.#options = options
    this.router = options.router ?? new Router(options.companions, { always: options.always })
  }

  /** Takes a request on. Throws what `Engine.submit` throws of its prompt; reading it, what that throws else. */
  submit(given: GenerateRequest): RoutedAnswer {
    const trace = new Trace(isPrepared(given.prompt) ? given.prompt.times : undefined)
    const onTemplate = () => trace.mark('templated')
    const ids = this.#engine.promptIds(given.prompt, { ...given, onTemplate })
    trace.mark('tokenized')
    // An answer that may move must draw the same numbers wherever it is made.
    const seed = given.seed ?? crypto.getRandomValues(new Uint32Array(1))[0]!
    const request: Request = { ...given, prompt: ids, raw: true, seed }
    // Asked behind an answer, not beside it: a core that is busy with a pass would take its own work for the network's.
    const onEnd = () => {
      if (performance.now() - this.#asked > statusMs) void this.refresh()
    }
    if (this.#asked === Number.NEGATIVE_INFINITY) void this.refresh()
    return new Route(this.#engine, this.#options, this.router, request, trace, onEnd)
  }

  /** As `Engine.prepare`. */
  prepare(prompt: PromptInput, options: PrepareOptions = {}): Promise<PreparedPrompt> {
    return this.#engine.prepare(prompt, options)
  }

  /** Asks every companion how it is; one that does not answer is a failure of it. Never rejects. */
  async refresh(): Promise<void> {
    this.#asked = performance.now()
    const { companions } = this.#options
    await Promise.all(
      companions.list.map(async (companion) => {
        if (!companion.breaker.enter(performance.now())) return
        const now = () => performance.now()
        const { signal, stop } = deadline(statusMs)
        try {
          const before = this.#engine.stats
          const status = await companion.client.status(signal)
          if (status.model !== this.#engine.identity)
            throw new ForetokenError('wrong_model', `${companion.name} runs another model`)
          const { rtt_ms: rttMs, prefill_ms_per_token: msPerToken, running, waiting, codecs } = status
          const sendsKv = codecs.length > 0
          const late = computed(before, this.#engine.stats)
          companion.costs.learnStatus({ rttMs, late, msPerToken, prompts: running / 2 + waiting, sendsKv }, now())
          companions.report(companion, 'succeeded', now())
        } catch {
          companions.report(companion, 'failed', now())
        } finally {
          stop()
        }
      }),
    )
  }
}

/** Whether an engine was at work between two looks at it. */
function computed(before: SchedulerStats, after: SchedulerStats): boolean {
  return before.running > 0 || after.running > 0 || before.passes !== after.passes
}

type Request = GenerateRequest & { readonly prompt: readonly number[]; readonly seed: number }

class Route implements RoutedAnswer {
  readonly #engine: Engine
  readonly #options: RoutedOptions
  readonly #router: Deciding
  readonly #request: Request
  readonly #trace: Trace
  readonly #onEnd: () => void
  readonly #decision: Decision<RemoteCompanion>
  /** Of all that is done elsewhere. */
  readonly #away = new AbortController()
  readonly #control = new AbortController()
  readonly #signal: AbortSignal
  readonly #expected: ExpectedKv
  /** Tokens of the answer that were shown. */
  readonly #shown: number[] = []
  /** Where its cache became exact by what came from elsewhere. */
  #exactFrom: number | undefined
  #inner: { readonly soFar: RoutedAnswer['soFar']; cancel(): void } | undefined
  /** The first of them: a race that moves has two. */
  #firstInner: { readonly soFar: RoutedAnswer['soFar'] } | undefined
  #fellBack: string | undefined
  #ending: Ending | undefined
  #receiving: Promise<boolean> | undefined
  #transfer: { bytes: number; ms: number } | undefined
  #ttft: number | undefined
  #ended: Promise<void> | undefined

  constructor(
    engine: Engine,
    options: RoutedOptions,
    router: Deciding,
    request: Request,
    trace: Trace,
    onEnd: () => void,
  ) {
    this.#onEnd = onEnd
    this.#engine = engine
    this.#options = options
    this.#router = router
    this.#request = request
    this.#trace = trace
    this.#signal = request.signal ? AbortSignal.any([request.signal, this.#control.signal]) : this.#control.signal
    this.#expected = engine.expectKv(request.prompt, { tenant: request.tenant ?? '' })
    const tokens = request.prompt.length - this.#expected.from
    const { ways = ['remote', 'relay', 'race'], leastTokens = 32 } = options
    const { waiting, running } = engine.stats
    this.#decision = router.decide({
      tokens,
      predicted: (request.prefill ?? 'exact') !== 'exact',
      bytesPerToken: bytesPerToken(engine, this.#codec),
      ways: tokens < leastTokens || request.maxTokens === 0 || (request.after?.length ?? 0) > 0 ? [] : ways,
      localQueueMs: (waiting + running / 4) * 20,
    })
    if (this.#decision.way !== 'remote' && this.#decision.way !== 'race' && !options.handOver) this.#expected.release()
  }

  get soFar(): RoutedAnswer['soFar'] {
    const inner = this.#inner?.soFar
    const own = this.#trace.timings(this.#engine.loadMs, this.#request.prompt.length, this.#shown.length)
    const { template_ms, tokenize_ms, ttft_ms } = own
    const here = this.#decision.way === 'local' ? inner?.timings : undefined
    const timings = here ? { ...here, template_ms, tokenize_ms, ttft_ms } : own
    const exact = this.#exactFrom ?? inner?.exact_from
    return {
      cached_tokens: inner?.cached_tokens ?? 0,
      prefill: this.#exactFrom ? 'refined' : (inner?.prefill ?? 'exact'),
      timings,
      ...(exact !== undefined && { exact_from: exact }),
    }
  }

  get route(): RouteReport {
    const { way, companion, predictedMs, considered } = this.#decision
    return {
      way,
      ...(companion && { companion: companion.name }),
      predicted_ms: predictedMs,
      ...(this.#ttft !== undefined && { actual_ms: this.#ttft }),
      considered,
      ...(this.#fellBack !== undefined && { fell_back: this.#fellBack }),
    }
  }

  cancel(): void {
    this.#control.abort()
    this.#away.abort()
    this.#inner?.cancel()
    void this.#end()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GenerateEvent> {
    const leave = () => this.#away.abort()
    this.#signal.addEventListener('abort', leave, { once: true })
    this.#trace.mark('admitted')
    this.#trace.mark('begun')
    yield { type: 'prompt', ids: this.#request.prompt }
    try {
      for await (const event of this.#events()) {
        if (event.type === 'prompt') continue
        if (event.type === 'token') this.#note(event)
        yield event.type === 'done' ? this.#complete(event) : event
      }
    } finally {
      this.#signal.removeEventListener('abort', leave)
      this.cancel()
      await this.#end()
    }
  }

  /** Gives everything back, once; also where a reader stops at the last event, and never asks for the end behind it. */
  #end(): Promise<void> {
    this.#ended ??= (async () => {
      // What is being written into its pages must end before they are anybody else's.
      await this.#receiving?.catch(() => {})
      this.#expected.release()
      this.#report()
      this.#onEnd()
    })()
    return this.#ended
  }

  #events(): AsyncGenerator<GenerateEvent> {
    const { way } = this.#decision
    if (way === 'remote') return this.#remote()
    if (way === 'relay') return this.#options.handOver ? this.#until(this.#relay()) : this.#relay()
    if (way === 'race') return this.#until(this.#here())
    return this.#here()
  }

  /** On this engine, behind what was shown. */
  async *#here(change: Partial<GenerateRequest> = {}): AsyncGenerator<GenerateEvent> {
    const after = [...(this.#request.after ?? []), ...this.#shown]
    const inner = this.#engine.submit({ ...this.#request, ...change, after, signal: this.#signal })
    this.#inner = inner
    this.#firstInner ??= inner
    yield* inner
  }

  /** K and V come from the companion; then the prompt is in the prefix cache. */
  async *#remote(): AsyncGenerator<GenerateEvent> {
    this.#receiving = this.#receive()
    await this.#receiving
    this.#expected.release()
    yield* this.#here()
  }

  /** Whether K and V have come whole; false where they can't. Rejects with `aborted` where nobody wants them any more. */
  async #receive(): Promise<boolean> {
    const { prompt, tenant = '' } = this.#request
    const { companion, predictedMs } = this.#decision
    const { from, to } = this.#expected
    const { client } = companion!
    const patience = deadline(patienceMs(predictedMs))
    const signal = AbortSignal.any([this.#away.signal, patience.signal])
    const { key } = client.address
    let first: number | undefined
    try {
      const { identity: model } = this.#engine
      const { body, context } = await client.kv({ ids: prompt, model, tenant, codec: this.#codec, from, to, signal })
      const { bytes } = await this.#expected.receive(body, {
        key,
        context,
        codecs: [this.#codec],
        signal,
        onBlock: () => {
          first ??= performance.now()
        },
      })
      this.#transfer = { bytes, ms: performance.now() - (first ?? performance.now()) }
      this.#ending = 'succeeded'
      return true
    } catch (error) {
      if (this.#signal.aborted) throw new ForetokenError('aborted', 'the request was cancelled')
      if (!this.#away.signal.aborted) this.#failed(error)
      return false
    } finally {
      patience.stop()
    }
  }

  /** The companion's tokens, shown as this engine would show them; if it fails, this engine goes on. */
  async *#relay(): AsyncGenerator<GenerateEvent> {
    const { prompt, tenant = '', maxTokens } = this.#request
    const { companion, predictedMs } = this.#decision
    const trace = this.#trace
    const answer = new Answer(prompt, this.#request, this.#engine, trace)
    const room = this.#engine.context - prompt.length
    const late = new AbortController()
    const inTime = after(patienceMs(predictedMs), () => late.abort())
    try {
      const tokens = companion!.client.relay({
        ids: prompt,
        model: this.#engine.identity,
        tenant,
        maxTokens: Math.min(maxTokens ?? room, room),
        options: optionsOf(this.#request),
        after: [],
        signal: AbortSignal.any([this.#away.signal, late.signal]),
      })
      for await (const token of tokens) {
        inTime()
        trace.mark('prefilled')
        if (!(token.id < this.#engine.archive.config.vocab))
          throw new ForetokenError('remote', `the companion sent token ${token.id}, which is not in the vocabulary`)
        const more = answer.show(token) !== undefined
        if (!more) this.#ending = 'succeeded'
        yield* answer.events.splice(0)
        if (!more) return
      }
      throw new ForetokenError('remote', 'the companion ended before the answer did')
    } catch (error) {
      if (this.#signal.aborted) throw new ForetokenError('aborted', 'the request was cancelled')
      // Its K and V have come: it was told to stop.
      if (this.#away.signal.aborted) return
      this.#failed(error)
    } finally {
      inTime()
    }
    yield* this.#here()
  }

  /** What `source` makes until K and V have come; from then on this engine goes on from an exact cache. */
  async *#until(source: AsyncGenerator<GenerateEvent>): AsyncGenerator<GenerateEvent> {
    this.#receiving = this.#receive()
    const arrival = this.#receiving.then((came) => ({ came }))
    arrival.catch(() => {})
    try {
      for (;;) {
        const next = source.next()
        next.catch(() => {})
        const came = await Promise.race([next.then(() => undefined), arrival])
        if (came?.came && !this.#isExact()) {
          yield* this.#move(source, next)
          return
        }
        const { done, value } = await next
        if (done) return
        yield value
        if (value.type === 'token' && this.#isExact()) this.#away.abort()
      }
    } finally {
      void source.return(undefined).catch(() => {})
    }
  }

  /** Whether the cache that the shown tokens were made from is exact, or will be no sooner for what comes. */
  #isExact(): boolean {
    const { way } = this.#decision
    return way === 'race' && this.#shown.length > 0 && this.#inner?.soFar.exact_from !== undefined
  }

  /** Stops `source`, shows what it had made, and goes on from the prefix cache. */
  async *#move(
    source: AsyncGenerator<GenerateEvent>,
    next: Promise<IteratorResult<GenerateEvent>>,
  ): AsyncGenerator<GenerateEvent> {
    if (this.#decision.way === 'race') this.#inner?.cancel()
    else this.#away.abort()
    try {
      for (let { done, value } = await next; !done; { done, value } = await source.next()) {
        yield value
        if (value.type === 'done') return
      }
    } catch (error) {
      if (asForetokenError(error).code !== 'aborted' || this.#signal.aborted) throw error
    }
    this.#expected.release()
    this.#exactFrom = this.#shown.length
    yield* this.#here({ prefill: 'exact' })
  }

  #note({ id }: TokenEvent): void {
    this.#shown.push(id)
    this.#trace.mark('prefilled')
    // A relayed token was marked as it was taken in.
    this.#trace.mark('first')
    this.#ttft ??= this.#trace.between('accepted', 'first')
    this.#trace.mark('done')
  }

  #complete(event: DoneEvent): DoneEvent {
    return { ...event, ...this.soFar, prefill_share: this.#exactFrom === 0 ? 1 : event.prefill_share }
  }

  #failed(error: unknown): void {
    const { code, message } = asForetokenError(error, 'remote')
    this.#ending = 'failed'
    this.#fellBack = code === 'aborted' ? 'it took too long' : `${code}: ${message}`
  }

  #report(): void {
    const { companion, way } = this.#decision
    // A race whose first token came from here tells what reading here takes, too.
    const here = way === 'local' || (way === 'race' && this.#exactFrom !== 0 && this.#ttft !== undefined)
    const timings = here ? this.#firstInner?.soFar : undefined
    const local = timings && {
      tokens: timings.timings.prompt_tokens - timings.cached_tokens,
      ms: timings.timings.prefill_ms,
    }
    this.#router.report(this.#decision, {
      ttftMs: this.#ttft ?? 0,
      ...(local && local.ms > 0 && { local }),
      ...(companion && { ending: this.#ttft === undefined && !this.#ending ? 'left' : (this.#ending ?? 'left') }),
      ...(this.#transfer && { transfer: this.#transfer }),
    })
  }

  get #codec(): WireCodec {
    return this.#options.codec ?? this.#engine.kvType
  }
}

/** How long a companion may take before the prompt is read here: three times what it should, and a second. */
function patienceMs(predicted: number): number {
  return Math.min(60_000, Math.ceil(3 * predicted) + 1000)
}

/** K and V of a token, without what pages hold beside them. */
function bytesPerToken({ pageBytes }: Engine, codec: WireCodec): number {
  const shrink = { f32: 1, f16: 1, int8: 1, int4: 0.6, residual: 0.3 }[codec]
  return (pageBytes / 16) * shrink
}

/** Of a request, what sampling takes. */
function optionsOf(request: Request): Record<string, unknown> {
  const { temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty, seed } = request
  const { topLogprobs, ignoreEos, stop, logitBias } = request
  const all = { temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty, seed }
  return Object.fromEntries(
    Object.entries({ ...all, topLogprobs, ignoreEos, stop, logitBias }).filter(([, value]) => value !== undefined),
  )
}
