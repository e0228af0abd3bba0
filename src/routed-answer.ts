/**
 * One answer that may be made elsewhere. Everything that it holds belongs to one lifetime: the last event, an error, a reader who leaves, a cancellation, an
 * abort of the request's signal and the engine's end all run the same clean-up, whether or not anybody reads the answer.
 */
import { Answer } from './answer.ts'
import type { Seed } from './decode/seed.ts'
import type { Engine } from './engine.ts'
import { asForetokenError, type ErrorCode, ForetokenError } from './errors.ts'
import type { ExpectedKv } from './kv-receiver.ts'
import { Lifetime } from './lifetime.ts'
import type { GenerateRequest } from './options.ts'
import { WaitBudget } from './prefill/patience.ts'
import { isRefusal, type RelayedToken, type RemoteCompanion, type RemoteKv } from './prefill/remote.ts'
import type { Companions, Ending } from './route/companions.ts'
import type { Way } from './route/costs.ts'
import type { Decision, Router } from './route/router.ts'
import type { DoneEvent, GenerateEvent, TokenEvent } from './stream/events.ts'
import type { Trace } from './trace.ts'
import { throwIfAborted } from './turn.ts'
import type { WireCodec } from './types.ts'

/** Which way a request took, and what was expected of it; milliseconds to the first token. */
export interface RouteReport {
  readonly way: Way
  readonly companion?: string
  readonly predicted_ms: number
  /** Without the time in which nobody waited for it. */
  readonly actual_ms?: number
  /** What each way should have taken. */
  readonly considered: Readonly<Partial<Record<Way, number>>>
  /** Why the companion's part was given up; the answer is whole nevertheless. */
  readonly fell_back?: string
}

/**
 * An answer's events, for one reader; as a `Submission` has them. It holds the prompt's cached pages and a companion's attention until it has been read, is
 * cancelled, or its request's signal aborts.
 */
export interface RoutedAnswer extends AsyncIterable<GenerateEvent> {
  readonly soFar: Pick<DoneEvent, 'cached_tokens' | 'prefill' | 'timings' | 'exact_from'>
  readonly route: RouteReport
  cancel(): void
}

/** What decides. */
export type Deciding = Pick<Router<RemoteCompanion>, 'decide' | 'report'>

/** How answers may be made. */
export interface AnswerOptions {
  readonly companions: Companions<RemoteCompanion>
  /** How K and V are sent. Default: as the pages here hold them, without loss. */
  readonly codec?: WireCodec
  /** Ways that requests may take beside `local`. Default: all. */
  readonly ways?: readonly Way[]
  /** A relayed answer goes on here as soon as its K and V have come. Default false: the companion decodes faster. */
  readonly handOver?: boolean
  /** Prompts with fewer tokens that are not cached are read here. Default 32. */
  readonly leastTokens?: number
}

export type TokenRequest = GenerateRequest & { readonly prompt: readonly number[]; readonly seed: Seed }

/** Failures that are a companion's. Any other is this engine's, and says nothing of the companion. */
const theirs: ReadonlySet<ErrorCode> = new Set(['remote', 'bad_kv', 'bad_mac', 'checksum', 'wrong_model', 'network'])

/** A reader who lets a companion wait for longer than this may be why it broke off, milliseconds. */
const excusedMs = 1000

export class Route implements RoutedAnswer {
  readonly #engine: Engine
  readonly #options: AnswerOptions
  readonly #router: Deciding
  readonly #request: TokenRequest
  readonly #trace: Trace
  readonly #life = new Lifetime()
  /** What is done elsewhere, which may end before the answer does. */
  readonly #away = new Lifetime()
  readonly #decision: Decision<RemoteCompanion>
  readonly #expected: ExpectedKv
  readonly #releaseExpected: () => unknown
  /** Tokens of the answer that were shown. */
  readonly #shown: number[] = []
  /** Where its cache became exact by what came from elsewhere. */
  #exactFrom: number | undefined
  #inner: { readonly soFar: RoutedAnswer['soFar']; cancel(): void } | undefined
  /** The first of them: a race that moves has two. */
  #firstInner: { readonly soFar: RoutedAnswer['soFar'] } | undefined
  #fellBack: string | undefined
  #ending: Ending | undefined
  /** Milliseconds that the companion had to wait for this answer's reader. */
  #heldMs = 0
  #tried = false
  #receiving: Promise<boolean> | undefined
  #transfer: { bytes: number; ms: number } | undefined
  /** Milliseconds until the first token that somebody waited: a reader's pause is nobody's cost. */
  #waitedMs: number
  #ttft: number | undefined

  /** Throws what the router throws; nothing is held then. */
  constructor(
    engine: Engine,
    options: AnswerOptions,
    router: Deciding,
    request: TokenRequest,
    trace: Trace,
    onEnd: () => void,
  ) {
    this.#engine = engine
    this.#options = options
    this.#router = router
    this.#request = request
    this.#trace = trace
    const life = this.#life
    try {
      life.hold(onEnd)
      const expected = engine.expectKv(request.prompt, { tenant: request.tenant ?? '' })
      this.#expected = expected
      this.#releaseExpected = life.hold(() => {
        expected.release()
        // Its pages are free once nothing is written into them.
        return this.#receiving?.catch(() => {})
      })
      const decision = this.#decide()
      this.#decision = decision
      life.hold(() => this.#report())
      life.hold(() => this.#inner?.cancel())
      life.hold(() => void this.#away.end())
      if (decision.way !== 'remote' && decision.way !== 'race' && !options.handOver) this.#releaseExpected()
    } catch (error) {
      void life.end()
      throw error
    }
    this.#waitedMs = trace.between('accepted', 'tokenized')
    life.follow(engine.closing).follow(request.signal)
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
    void this.#life.end(new ForetokenError('aborted', 'the request was cancelled'))
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GenerateEvent> {
    const life = this.#life
    const events = this.#events()
    // A pending step ends with the lifetime; one that stands at an event is let go.
    life.hold(() => void events.return(undefined).catch(() => {}))
    let ended = false
    try {
      this.#trace.mark('admitted')
      this.#trace.mark('begun')
      yield { type: 'prompt', ids: this.#request.prompt }
      while (!ended) {
        throwIfAborted(life.signal)
        const asked = performance.now()
        const { done, value: event } = await events.next()
        if (this.#ttft === undefined) this.#waitedMs += performance.now() - asked
        if (done) break
        if (event.type === 'prompt') continue
        if (event.type === 'token') this.#note(event)
        ended = event.type === 'done'
        const shown = event.type === 'done' ? this.#complete(event) : event
        // A reader may not ask for the end behind the last event.
        if (ended) void life.end()
        yield shown
      }
      if (!ended) throwIfAborted(life.signal)
    } finally {
      await life.end()
    }
  }

  #decide(): Decision<RemoteCompanion> {
    const { prompt, prefill = 'exact', maxTokens, after = [] } = this.#request
    const { ways = ['remote', 'relay', 'race'], leastTokens = 32 } = this.#options
    const tokens = prompt.length - this.#expected.from
    const { waiting, running } = this.#engine.stats
    return this.#router.decide({
      tokens,
      predicted: prefill !== 'exact',
      bytesPerToken: bytesPerToken(this.#engine, this.#codec),
      ways: tokens < leastTokens || maxTokens === 0 || after.length > 0 ? [] : ways,
      localQueueMs: (waiting + running / 4) * 20,
    })
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
    const inner = this.#engine.submit({ ...this.#request, ...change, after, signal: this.#life.signal })
    this.#inner = inner
    this.#firstInner ??= inner
    yield* inner
  }

  /** K and V come from the companion; then the prompt is in the prefix cache. */
  async *#remote(): AsyncGenerator<GenerateEvent> {
    await this.#receive()
    throwIfAborted(this.#life.signal)
    this.#releaseExpected()
    yield* this.#here()
  }

  /** Whether K and V have come whole; false where they can't, or nobody wants them any more. */
  #receive(): Promise<boolean> {
    const receiving = this.#received()
    this.#receiving = receiving
    return receiving
  }

  async #received(): Promise<boolean> {
    const { prompt, tenant = '' } = this.#request
    const { companion, predictedMs, considered } = this.#decision
    const { from, to } = this.#expected
    const { client } = companion!
    const call = new Lifetime().follow(this.#away.signal)
    // Only waiting for the network counts: what comes is decoded here, and may be added to what is predicted here.
    const budget = new WaitBudget(patienceMs(considered.remote ?? predictedMs), () => void call.end())
    call.hold(() => budget.stop())
    try {
      const asked = { ids: prompt, model: this.#engine.identity, tenant, codec: this.#codec, from, to }
      const kv = await budget.wait(client.kv({ ...asked, signal: call.signal, onHeld: this.#noteHeld }))
      const { key } = client.address
      await this.#expected.receive(waitingWith(budget, kv), {
        key,
        context: kv.context,
        codecs: [this.#codec],
        signal: call.signal,
      })
      this.#transfer = kv.arrived()
      this.#ending = 'succeeded'
      this.#endTrial()
      return true
    } catch (error) {
      if (!this.#away.ended) this.#failed(error, budget)
      return false
    } finally {
      await call.end()
    }
  }

  /** The companion's tokens, shown as this engine would show them; if it fails, this engine goes on. */
  async *#relay(): AsyncGenerator<GenerateEvent> {
    const { prompt, tenant = '', maxTokens } = this.#request
    const { companion, predictedMs } = this.#decision
    const trace = this.#trace
    const answer = new Answer(prompt, this.#request, this.#engine, trace)
    const room = this.#engine.context - prompt.length
    const call = new Lifetime().follow(this.#away.signal)
    const budget = new WaitBudget(patienceMs(predictedMs), () => void call.end())
    call.hold(() => budget.stop())
    const tokens = companion!.client.relay({
      ids: prompt,
      model: this.#engine.identity,
      tenant,
      maxTokens: Math.min(maxTokens ?? room, room),
      options: optionsOf(this.#request),
      after: [],
      signal: call.signal,
      onHeld: this.#noteHeld,
    })
    try {
      for (;;) {
        const { done, value: token } = await budget.wait(tokens.next())
        if (done) throw new ForetokenError('remote', 'the companion ended before the answer did')
        budget.refill(tokenMs(predictedMs))
        trace.mark('prefilled')
        this.#check(token)
        this.#endTrial()
        const more = answer.show(token) !== undefined
        if (!more) this.#ending = 'succeeded'
        yield* answer.events.splice(0)
        if (!more) return
      }
    } catch (error) {
      throwIfAborted(this.#life.signal)
      // Its K and V have come: it was told to stop.
      if (this.#away.ended) return
      this.#failed(error, budget)
    } finally {
      await call.end()
      void tokens.return(undefined).catch(() => {})
    }
    yield* this.#here()
  }

  /** What `source` makes until K and V have come; from then on this engine goes on from an exact cache. */
  async *#until(source: AsyncGenerator<GenerateEvent>): AsyncGenerator<GenerateEvent> {
    const arrival = this.#receive().then((came) => ({ came }))
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
        if (value.type === 'token' && this.#isExact()) void this.#away.end()
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
    else void this.#away.end()
    try {
      for (let { done, value } = await next; !done; { done, value } = await source.next()) {
        yield value
        if (value.type === 'done') return
      }
    } catch (error) {
      if (asForetokenError(error).code !== 'aborted' || this.#life.ended) throw error
    }
    this.#releaseExpected()
    this.#exactFrom = this.#shown.length
    yield* this.#here({ prefill: 'exact' })
  }

  #note({ id }: TokenEvent): void {
    this.#shown.push(id)
    this.#trace.mark('prefilled')
    // A relayed token was marked as it was taken in.
    this.#trace.mark('first')
    this.#ttft ??= this.#waitedMs
    this.#trace.mark('done')
  }

  #complete(event: DoneEvent): DoneEvent {
    return { ...event, ...this.soFar, prefill_share: this.#exactFrom === 0 ? 1 : event.prefill_share }
  }

  /** Throws `remote` for a token that this engine could not have made. */
  #check({ id, topLogprobs = [] }: RelayedToken): void {
    const { vocab } = this.#engine.archive.config
    const { topLogprobs: most = 0 } = this.#request
    const unknown = [id, ...topLogprobs.map((one) => one.id)].find((one) => !(one < vocab && this.#isToken(one)))
    if (unknown !== undefined)
      throw new ForetokenError('remote', `the companion sent token ${unknown}, which is not in the vocabulary`)
    if (topLogprobs.length > most || (most > 0 && topLogprobs.length === 0))
      throw new ForetokenError(
        'remote',
        `the companion sent ${topLogprobs.length} log-probabilities, and ${most} were asked for`,
      )
  }

  /** Some models have more rows of logits than tokens. */
  #isToken(id: number): boolean {
    try {
      this.#engine.tokenizer.tokenBytes(id)
      return true
    } catch {
      return false
    }
  }

  /** It answers: others may try it, too, for however long this answer's reader takes. How it ended is reported at the end. */
  #endTrial(): void {
    if (!this.#tried) this.#decision.companion?.breaker.left()
    this.#tried = true
  }

  readonly #noteHeld = (ms: number) => {
    this.#heldMs += ms
  }

  #failed(error: unknown, budget: WaitBudget): void {
    const { code, message } = asForetokenError(error, 'remote')
    const late = budget.spent
    // A companion that waited for this reader may have broken off for that.
    const excused = this.#heldMs > excusedMs || !theirs.has(code) || isRefusal(error)
    this.#ending = late || !excused ? 'failed' : 'left'
    this.#fellBack = late ? `it took too long: ${Math.round(budget.waitedMs)} ms` : `${code}: ${message}`
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
      // What was read while nobody waited for it, or left half read, tells nothing.
      ...(local && local.ms > 0 && 0.8 * local.ms <= this.#waitedMs && { local }),
      ...(companion && { ending: this.#ending ?? 'left' }),
      ...(this.#transfer && { transfer: this.#transfer }),
    })
  }

  get #codec(): WireCodec {
    return this.#options.codec ?? this.#engine.kvType
  }
}

/** How long a companion may be waited for before the prompt is read here: three times what it should take, and a second. */
function patienceMs(predicted: number): number {
  return Math.min(60_000, Math.ceil(3 * predicted) + 1000)
}

/**
 * What each token of a relayed answer gives back of that, milliseconds. A step reads all weights once, as reading the prompt does, so that three times
 * the prompt's time is ample; nobody waits for less than a token a second, and a busy machine is not given up for 150 ms.
 */
function tokenMs(predicted: number): number {
  return Math.min(1000, Math.max(150, 3 * predicted))
}

/** The body, with the clock running while it is waited for. */
function waitingWith(budget: WaitBudget, { body }: RemoteKv): AsyncIterable<Uint8Array> {
  const pieces = body[Symbol.asyncIterator]()
  return {
    [Symbol.asyncIterator]: () => ({
      next: () => budget.wait(pieces.next()),
      return: async () => (await pieces.return?.()) ?? { done: true, value: undefined },
    }),
  }
}

/** K and V of a token, without what pages hold beside them. */
function bytesPerToken({ pageBytes }: Engine, codec: WireCodec): number {
  const shrink = { f32: 1, f16: 1, int8: 1, int4: 0.6, residual: 0.3 }[codec]
  return (pageBytes / 16) * shrink
}

/** Of a request, what sampling takes. */
function optionsOf(request: TokenRequest): Record<string, unknown> {
  const { temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty } = request
  const { topLogprobs, ignoreEos, stop, stopTokenIds, minTokens, logitBias } = request
  // JSON has no integers beyond 53 bits.
  const seed = typeof request.seed === 'bigint' ? String(request.seed) : request.seed
  const drawing = { temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty, seed }
  const all = { ...drawing, topLogprobs, ignoreEos, stop, stopTokenIds, minTokens, logitBias }
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
}
