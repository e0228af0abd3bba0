/**
 * Makes one answer, here or elsewhere. Everything that it holds belongs to one lifetime: the last
 * event, an error, a reader that leaves, a cancellation, an abort of the request's signal and the
 * close of the engine all run the same clean-up, even if no caller reads the answer.
 */

import { abortReason, cancelled, throwIfAborted } from '../base/cancelled.ts'
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import type { WireCodec } from '../base/kv-codec.ts'
import { Lifetime } from '../base/lifetime.ts'
import type { Trace } from '../base/trace.ts'
import { AnswerState } from '../engine/answer-state.ts'
import type { Engine } from '../engine/engine.ts'
import { EventReader } from '../engine/event-reader.ts'
import { resultOf } from '../engine/generate.ts'
import type { GenerateRequest } from '../engine/options.ts'
import type { Answer, RouteReport } from '../engine/service.ts'
import type { DoneEvent, GenerateEvent, TokenEvent } from '../stream/events.ts'
import { preparedNow } from '../tokens/prompts.ts'
import type { ExpectedKv } from '../transfer/expected-kv.ts'
import type { RemoteCompanion } from '../transfer/remote.ts'
import { WaitBudget } from '../transfer/wait-budget.ts'
import { bytesPerToken, checkRelayed, optionsOf } from './asking.ts'
import { receiveFromCompanion } from './receive-from-companion.ts'
import type { AnswerOptions, Deciding, RoutedAnswer, TokenRequest } from './request.ts'
import type { Decision } from './router.ts'
import { Trial } from './trial.ts'
import { patienceMs, tokenMs } from './waiting.ts'

/**
 * Makes events. May end by returning the source of the events that follow, so that they need not be
 * passed on one by one.
 */
type Source = AsyncIterator<GenerateEvent, Source | undefined>

export class Route implements RoutedAnswer {
  readonly id: string | undefined
  readonly #engine: Engine
  readonly #options: AnswerOptions
  readonly #router: Deciding
  readonly #request: TokenRequest
  readonly #trace: Trace
  readonly #life = new Lifetime()
  /** Work elsewhere, which may end before the answer does. */
  readonly #away = new Lifetime()
  readonly #decision: Decision<RemoteCompanion>
  readonly #expected: ExpectedKv
  readonly #releaseExpected: () => unknown
  /** Ids of the tokens that were shown. */
  readonly #shown: number[] = []
  /** Index of the first answer token made from K and V that came from elsewhere. */
  #exactFrom: number | undefined
  /** The answer of this engine. */
  #inner: Answer | undefined
  /** The first answer of this engine; a race that moves has two. */
  #firstInner: Answer | undefined
  #source: Source | undefined
  #state: 'new' | 'begun' | 'done' = 'new'
  readonly #trial: Trial
  #receiving: Promise<boolean> | undefined
  /**
   * How long the reader waited for the first token, in milliseconds. Its own pauses do not count.
   */
  #waitedMs: number
  #ttft: number | undefined

  /** Throws the errors of the router, and holds nothing then. */
  constructor(
    engine: Engine,
    options: AnswerOptions,
    router: Deciding,
    request: TokenRequest,
    trace: Trace,
    onEnd: () => void,
  ) {
    this.id = request.id
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
        // Its pages become free once no more data is written into them.
        return this.#receiving?.catch(() => {})
      })
      const decision = this.#decide()
      this.#decision = decision
      this.#trial = new Trial(decision.companion)
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
    const whole = this.#trace.timings(this.#engine.loadMs, this.#request.prompt.length, this.#shown.length)
    const { template_ms, tokenize_ms, ttft_ms } = whole
    const here = this.#decision.way === 'local' ? inner?.timings : undefined
    // After a move, what the answer of this engine forced since.
    const forced = inner?.timings.forced_tokens
    const timings = {
      ...(here ? { ...here, template_ms, tokenize_ms, ttft_ms } : whole),
      ...(forced !== undefined && { forced_tokens: forced }),
    }
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
      ...(this.#trial.fellBack !== undefined && { fell_back: this.#trial.fellBack }),
    }
  }

  cancel(): void {
    void this.#life.end(cancelled())
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<GenerateEvent> {
    return new EventReader(
      () => this.#next(),
      () => this.#life.end(),
    )
  }

  result(): Promise<DoneEvent> {
    return resultOf(this)
  }

  async #next(): Promise<GenerateEvent | undefined> {
    try {
      return await this.#read()
    } catch (error) {
      throw this.#life.ended ? abortReason(this.#life.signal) : error
    }
  }

  async #read(): Promise<GenerateEvent | undefined> {
    const life = this.#life
    if (this.#state === 'done') return undefined
    if (this.#state === 'new') {
      this.#state = 'begun'
      this.#trace.mark('admitted')
      this.#trace.mark('begun')
      return { type: 'prompt', ids: this.#request.prompt }
    }
    for (;;) {
      throwIfAborted(life.signal)
      const asked = performance.now()
      this.#source ??= this.#begin()
      const next = await this.#source.next()
      if (this.#ttft === undefined) this.#waitedMs += performance.now() - asked
      if (next.done) {
        if (!next.value) break
        this.#source = next.value
        continue
      }
      const event = next.value
      // The prompt was told when the route began.
      if (event.type === 'prompt') continue
      if (event.type === 'token') this.#note(event)
      // The tokens that were given before are not among those that were shown.
      if (event.type === 'correction') this.#shown.length = event.index - (this.#request.after?.length ?? 0)
      return event.type === 'done' ? this.#finish(event) : event
    }
    throwIfAborted(life.signal)
    return undefined
  }

  #decide(): Decision<RemoteCompanion> {
    const { prompt, prefill = 'exact', maxTokens, after = [], guide, verify, marked } = this.#request
    const { leastTokens = 32 } = this.#options
    // A guide stays here: a companion may read the prompt, but not choose the tokens.
    const ways = (this.#options.ways ?? ['remote', 'relay', 'race'])
      .filter((way) => way !== 'relay' || !guide)
      // A race that moves goes on from tokens that were not checked.
      .filter((way) => way !== 'race' || !verify)
    const tokens = prompt.length - this.#expected.from
    // Chunks are kept here, so their prompts are read here.
    const here = tokens < leastTokens || maxTokens === 0 || after.length > 0 || marked.length > 0
    const { waiting, running } = this.#engine.stats
    return this.#router.decide({
      tokens,
      predicted: prefill !== 'exact',
      bytesPerToken: bytesPerToken(this.#engine, this.#codec),
      ways: here ? [] : ways,
      localQueueMs: (waiting + running / 4) * 20,
    })
  }

  #begin(): Source {
    const { way } = this.#decision
    if (way === 'remote') return following(this.#remote())
    if (way === 'relay') return this.#options.handOver ? this.#until(this.#relay()) : this.#relay()
    if (way === 'race') return this.#until(this.#here())
    return this.#here()
  }

  /** Submits the rest of the answer to this engine, after the tokens that were shown. */
  #here(change: Partial<GenerateRequest> = {}): Source {
    const after = [...(this.#request.after ?? []), ...this.#shown]
    const { prompt, marked, ...request } = this.#request
    const given = marked.length > 0 ? preparedNow(prompt, marked) : prompt
    const inner = this.#engine.submit({ ...request, prompt: given, ...change, after, signal: this.#life.signal })
    this.#inner = inner
    this.#firstInner ??= inner
    return inner[Symbol.asyncIterator]()
  }

  /**
   * Receives K and V from the companion, so that the engine finds the prompt in its prefix cache.
   */
  async #remote(): Promise<Source> {
    await this.#receive()
    throwIfAborted(this.#life.signal)
    this.#releaseExpected()
    return this.#here()
  }

  #receive(): Promise<boolean> {
    this.#receiving = receiveFromCompanion({
      engine: this.#engine,
      request: this.#request,
      decision: this.#decision,
      expected: this.#expected,
      codec: this.#codec,
      trial: this.#trial,
      signal: this.#away.signal,
    })
    return this.#receiving
  }

  /**
   * Yields the companion's tokens as this engine would show them. If the companion fails, this
   * engine continues.
   */
  async *#relay(): AsyncGenerator<GenerateEvent, Source | undefined> {
    const { prompt, tenant = '', maxTokens } = this.#request
    const { companion, predictedMs } = this.#decision
    const trace = this.#trace
    const state = new AnswerState(prompt, this.#request, this.#engine, trace)
    const room = this.#engine.context - prompt.length
    const call = new Lifetime().follow(this.#away.signal)
    const budget = new WaitBudget(patienceMs(predictedMs), () => void call.end())
    call.hold(() => budget.stop())
    if (!companion) return this.#here()
    const tokens = companion.client.relay({
      ids: prompt,
      model: this.#engine.identity,
      tenant,
      maxTokens: Math.min(maxTokens ?? room, room),
      options: optionsOf(this.#request),
      after: [],
      signal: call.signal,
      onHeld: this.#trial.noteHeld,
    })
    try {
      for (;;) {
        const { done, value: token } = await budget.wait(tokens.next())
        if (done) throw new ForetokenError('remote', 'the companion ended before the answer did')
        budget.refill(tokenMs(predictedMs))
        trace.mark('prefilled')
        checkRelayed(token, this.#engine, this.#request.topLogprobs ?? 0)
        this.#trial.answered()
        const more = state.show(token) !== undefined
        if (!more) this.#trial.succeeded()
        yield* state.events.splice(0)
        if (!more) return undefined
      }
    } catch (error) {
      throwIfAborted(this.#life.signal)
      // The companion was stopped because its K and V have arrived.
      if (this.#away.ended) return undefined
      this.#trial.failed(error, budget)
    } finally {
      await call.end()
    }
    return this.#here()
  }

  /**
   * Yields the events of `source` until K and V have arrived. From then on this engine continues
   * from an exact cache.
   */
  async *#until(first: Source): AsyncGenerator<GenerateEvent, Source | undefined> {
    let source = first
    const arrival = this.#receive().then((whole) => ({ whole }))
    arrival.catch(() => {})
    for (;;) {
      const next = source.next()
      next.catch(() => {})
      const arrived = await Promise.race([next.then(() => undefined), arrival])
      if (arrived?.whole && !this.#isExact()) return yield* this.#move(source, next)
      const { done, value } = await next
      if (!done) {
        yield value
        if (value.type === 'token' && this.#isExact()) void this.#away.end()
      } else if (value) source = value
      else return undefined
    }
  }

  /**
   * Returns true if the tokens shown were made from an exact cache, which K and V from elsewhere
   * cannot improve.
   */
  #isExact(): boolean {
    const { way } = this.#decision
    return way === 'race' && this.#shown.length > 0 && this.#inner?.soFar.exact_from !== undefined
  }

  /** Stops `source`, yields the events that it had made, and continues from the prefix cache. */
  async *#move(source: Source, next: ReturnType<Source['next']>): AsyncGenerator<GenerateEvent, Source | undefined> {
    if (this.#decision.way === 'race') this.#inner?.cancel()
    else void this.#away.end()
    try {
      for (let event = await next; ; event = await source.next()) {
        // The companion has failed meanwhile, and this engine is already continuing.
        if (event.done && event.value) return event.value
        if (event.done) break
        yield event.value
        if (event.value.type === 'done') return undefined
      }
    } catch (error) {
      if (asForetokenError(error).code !== 'aborted' || this.#life.ended) throw error
    }
    this.#releaseExpected()
    this.#exactFrom = this.#shown.length
    return this.#here({ prefill: 'exact' })
  }

  #note({ id }: TokenEvent): void {
    this.#shown.push(id)
    this.#trace.mark('prefilled')
    // The first token of a relayed answer has set the mark already.
    this.#trace.mark('first')
    this.#ttft ??= this.#waitedMs
    this.#trace.mark('done')
  }

  #finish(event: DoneEvent): DoneEvent {
    this.#state = 'done'
    const whole = this.#complete(event)
    // The reader may not ask for the end after the last event.
    void this.#life.end()
    return whole
  }

  #complete(event: DoneEvent): DoneEvent {
    return { ...event, ...this.soFar, prefill_share: this.#exactFrom === 0 ? 1 : event.prefill_share }
  }

  #report(): void {
    const { way } = this.#decision
    // A race whose first token came from here also measures the cost of reading here.
    const here = way === 'local' || (way === 'race' && this.#exactFrom !== 0 && this.#ttft !== undefined)
    const timings = here ? this.#firstInner?.soFar : undefined
    const local = timings && {
      tokens: timings.timings.prompt_tokens - timings.cached_tokens,
      ms: timings.timings.prefill_ms,
    }
    this.#router.report(this.#decision, {
      ttftMs: this.#ttft ?? 0,
      // A prompt that was read while no caller waited, or only in part, measures nothing.
      ...(local && local.ms > 0 && 0.8 * local.ms <= this.#waitedMs && { local }),
      ending: this.#trial.ending,
      transfer: this.#trial.transfer,
    })
  }

  get #codec(): WireCodec {
    return this.#options.codec ?? this.#engine.kvType
  }
}

/** Makes no events itself; returns their source when `ready` has resolved. */
function following(ready: Promise<Source>): Source {
  return { next: async () => ({ done: true, value: await ready }) }
}
