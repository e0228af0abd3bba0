/**
 * One answer that may be made elsewhere. Everything that it holds belongs to one lifetime: the last event, an error, a reader who leaves, a cancellation, an
 * abort of the request's signal and the engine's end all run the same clean-up, whether or not anybody reads the answer.
 */

import { asForetokenError, type ErrorCode, ForetokenError } from '../base/errors.ts'
import type { WireCodec } from '../base/kv.ts'
import { Lifetime } from '../base/lifetime.ts'
import type { Trace } from '../base/trace.ts'
import { throwIfAborted } from '../base/turn.ts'
import { Answer } from '../engine/answer.ts'
import type { Engine } from '../engine/engine.ts'
import type { GenerateRequest } from '../engine/options.ts'
import type { DoneEvent, GenerateEvent, TokenEvent } from '../stream/events.ts'
import { WaitBudget } from '../transfer/patience.ts'
import type { ExpectedKv } from '../transfer/receiver.ts'
import { isRefusal, type RemoteCompanion } from '../transfer/remote.ts'
import { bytesPerToken, checkRelayed, optionsOf } from './asking.ts'
import type { Ending } from './companions.ts'
import type { AnswerOptions, Deciding, RoutedAnswer, RouteReport, TokenRequest } from './request.ts'
import type { Decision } from './router.ts'
import { patienceMs, tokenMs, waitingWith } from './waiting.ts'

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
        checkRelayed(token, this.#engine, this.#request.topLogprobs ?? 0)
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
