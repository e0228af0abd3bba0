/**
 * Owns one request for text and everything that it holds: a place, its answers, its body, a timer
 * and listeners are registered here, and every ending (done, refused, failed, timed out,
 * disconnected, stalled, stopped) runs `end`, the only clean-up. The endpoints define what a body
 * means and how an answer is written.
 *
 * A token of a stream takes four steps: the answer makes an event, a `Route` may lie between (with
 * companions), `Choices` hands it out and counts it, and the body writes it as a frame.
 */
import type { z } from '@hono/zod-openapi'
import { ForetokenError, type GenerateRequest, type TextService } from '../src/index.ts'
import type { Form } from './aliases.ts'
import { type Answering, type ChoiceEvent, Choices } from './choices.ts'
import type { Config } from './config.ts'
import { marksChunks } from './endpoints/messages.ts'
import { ApiError, asApiError, type FieldOf } from './errors.ts'
import { jsonOf } from './json.ts'
import { Meter } from './meter.ts'
import type { Known } from './models.ts'
import type { Ending } from './paced.ts'
import { routeHeader } from './route/header.ts'
import { finish, hostOf, type RequestContext, type Server } from './server.ts'
import { EventBody, eventStream, type StreamFormat } from './sse.ts'
import { timingHeaders } from './usage.ts'

/** The meaning of a body, and how its answers are written. */
export interface Plan {
  /** One for each prompt. */
  readonly requests: readonly Omit<GenerateRequest, 'signal' | 'tenant'>[]
  /** Number of answers to each prompt. */
  readonly choices: number
  readonly stream: boolean
  /** The form of the stream. Default: server-sent events. */
  readonly format?: StreamFormat
  readonly progress: boolean
  /** Reads all events; resolves with the answers as one JSON object. */
  body(events: AsyncIterable<ChoiceEvent>): Promise<unknown>
  /**
   * Returns the frames of an event of a stream; '' if it shows nothing. The last event of all
   * answers ends the stream. `answers` tells how the prompt has been read so far.
   */
  frame(event: ChoiceEvent, answers: Pick<Choices, 'soFar'>): string
  /** Returns the frames that report a failure in the middle of a stream. */
  failed(error: ApiError): string
}

export interface PlanContext {
  readonly engine: TextService
  readonly config: Config
  /** The model's name in the answer. */
  readonly model: string
  /** Seconds since 1970. */
  readonly created: number
  readonly requestId: string
  /** How long the request waited for the model to be loaded, in milliseconds. */
  readonly loadMs: number
}

/** What a request of one route may contain. */
export interface Contract<S extends z.ZodType<{ model: string }>> {
  readonly form: Form
  readonly schema: S
  /** Maximum numbers of entries in the lists and objects of its fields. */
  entries(config: Config): Readonly<Record<string, number>>
  /** Whether bodies of any content type are read as JSON if no page sent them. Default false. */
  readonly anyType?: boolean
  /** Returns how long the model stays in memory after this request, in milliseconds; undefined if it says nothing. */
  idleMs?(body: z.output<S>): number | undefined
  /** Throws an ApiError if a model is not for this request: before a load where that is known, and after it. */
  require?(model: Known, body: z.output<S>): void
}

export interface Endpoint<S extends z.ZodType<{ model: string }>> extends Contract<S> {
  /** Returns the answer to a request that only unloads the model; undefined for all others. */
  unloaded?(body: z.output<S>): unknown
  /** Returns an answer that needs no text of the model; undefined if the request needs some. */
  ready?(body: z.output<S>, context: PlanContext): unknown
  plan(body: z.output<S>, context: PlanContext): Plan
}

/** Messages of the error with which the work is aborted. */
const reasons = {
  gone: 'the client disconnected',
  stalled: 'the client stopped reading the answer',
  timeout: 'the time limit of the answer has passed',
}

export class Exchange {
  readonly #c: RequestContext
  readonly #server: Server
  readonly #control = new AbortController()
  readonly #gone = () => this.#leave('gone')
  readonly #held = new Set<() => void>()
  #timer: ReturnType<typeof setTimeout> | undefined
  #released = false
  #ended = false
  /** Names the fields of the body, once it has been read. */
  fieldOf: FieldOf | undefined

  constructor(c: RequestContext, server: Server) {
    this.#c = c
    this.#server = server
    const { signal } = c.req.raw
    if (signal.aborted) this.#leave('gone')
    else signal.addEventListener('abort', this.#gone)
  }

  /** Aborted when the answer is no longer needed. */
  get signal(): AbortSignal {
    return this.#control.signal
  }

  /** Registers a clean-up. It runs when the request ends, or at once if it has ended. */
  hold(release: () => void): void {
    if (this.#released) release()
    else this.#held.add(release)
  }

  /** Starts the time limit of the answer. Throws if the request has ended. */
  startClock(): void {
    this.signal.throwIfAborted()
    const { requestSeconds } = this.#server.config.limits
    this.#timer = setTimeout(() => this.#leave('timeout'), requestSeconds * 1000)
  }

  /**
   * Tokenizes the prompts and submits them. The time limit of the answer starts here. Rejects with
   * the errors of `Choices.begin`.
   */
  async begin(service: Answering, { requests, choices, progress }: Plan): Promise<Choices> {
    const { tenant } = this.#c.get('caller')
    const { promptTokens } = this.#server.config.limits
    this.startClock()
    const record = this.#c.get('record')
    const { metrics, models } = this.#server
    const meter = new Meter(metrics, record, { choices, model: models.several ? record.model : undefined })
    const begun = await Choices.begin(
      service,
      requests.map((request) => ({ ...request, tenant })),
      {
        signal: this.signal,
        progress,
        choices,
        promptTokens,
        onEvent: (event, all) => meter.count(event, all),
      },
    )
    this.hold(() => begun.cancel())
    if (requests.some(({ prompt, chunks }) => chunks !== undefined || isMarked(prompt)))
      this.hold(() => this.#keepChunks(service))
    return begun
  }

  /** Lets new chunks be computed behind the answer. What fails here is computed with a later prompt. */
  #keepChunks(service: Answering): void {
    const kept = service.keepChunks?.().catch(() => {})
    if (kept) hostOf(this.#c).waitUntil(kept)
  }

  async json(choices: Choices, plan: Plan): Promise<Response> {
    const body = await jsonOf(await plan.body(choices), this.signal)
    this.end()
    const type = { 'content-type': 'application/json' }
    return new Response(body, {
      headers: { ...type, ...timingHeaders(choices.soFar), ...routeHeader(choices.routeOf(0)) },
    })
  }

  /**
   * Responds with a stream. The headers wait for the first token, so they report its timings, and
   * an earlier failure still gets its own status. If the prompt takes longer than a keep-alive, or
   * its progress is sent, the headers go out earlier and without timings; the stream's last chunk
   * has them.
   */
  async stream(choices: Choices, plan: Plan): Promise<Response> {
    const { config } = this.#server
    const record = this.#c.get('record')
    record.streaming = true
    const frames = { next: () => nextFrame(choices, plan), failed: (error: unknown) => this.#failed(error, plan) }
    const { contentType, keepAlive } = plan.format ?? eventStream
    const body = new EventBody(frames, keepAlive, config.keepAliveSeconds * 1000)
    let ready: boolean
    try {
      ready = await body.open()
    } catch (error) {
      record.streaming = false
      throw error
    }
    record.status = 200
    const stream = body.stream({
      stallMs: config.limits.stallSeconds * 1000,
      end: (ending) => this.#close(ending),
    })
    return new Response(stream, {
      headers: {
        'content-type': contentType,
        'cache-control': 'no-cache, no-transform',
        'x-accel-buffering': 'no',
        ...(ready && !plan.progress && { ...timingHeaders(choices.soFar), ...routeHeader(choices.routeOf(0)) }),
      },
    })
  }

  /** Returns the frames that report a failure, and ends the request. */
  #failed(error: unknown, plan: Plan): string {
    const failure = asApiError(this.explained(error), this.fieldOf)
    const record = this.#c.get('record')
    record.code = failure.code
    const cause = causeOf(failure)
    if (cause !== undefined) record.cause = cause
    this.end()
    return plan.failed(failure)
  }

  #close(ending: Ending): void {
    if (ending === 'gone' || ending === 'stalled') this.#leave(ending)
    this.end()
  }

  /**
   * Stops the work. A connected client gets the failure; if the client has disconnected, the
   * request ends.
   */
  #leave(by: 'gone' | 'stalled' | 'timeout'): void {
    if (this.#ended || this.#control.signal.aborted) return
    this.#c.get('record').aborted = by
    this.#control.abort(new ForetokenError('aborted', reasons[by]))
    this.#release()
    if (by === 'gone') this.end()
  }

  /**
   * Returns the error to report: after a timeout, the timeout rather than the cancellation that it
   * caused.
   */
  explained(error: unknown): unknown {
    if (this.#c.get('record').aborted !== 'timeout') return error
    const { requestSeconds } = this.#server.config.limits
    return new ApiError(504, `the answer was not complete within ${requestSeconds} s; ask for fewer tokens`, {
      code: 'timeout',
      headers: { 'x-should-retry': 'false' },
    })
  }

  /**
   * Runs the clean-ups, once. Counts and logs a stream; other answers are logged when they have
   * been sent.
   */
  end(): void {
    this.#release()
    if (this.#ended) return
    this.#ended = true
    // A host may keep a request's signal while it has listeners, and the listener keeps this
    // exchange.
    this.#c.req.raw.signal.removeEventListener('abort', this.#gone)
    const record = this.#c.get('record')
    if (record.streaming && record.status === 200) finish(this.#server, record)
  }

  #release(): void {
    this.#released = true
    clearTimeout(this.#timer)
    for (const release of this.#held) release()
    this.#held.clear()
  }
}

/** Returns whether a prompt is a conversation with marked parts. */
function isMarked(prompt: GenerateRequest['prompt']): boolean {
  if (typeof prompt === 'string') return false
  return prompt.some((message) => typeof message === 'object' && marksChunks([message]))
}

/** Resolves with the next frames that show something, or with undefined at the end. */
async function nextFrame(choices: Choices, plan: Plan): Promise<string | undefined> {
  for (;;) {
    const { done, value } = await choices.next()
    if (done) return undefined
    const text = plan.frame(value, choices)
    if (text !== '') return text
  }
}

/** Returns the cause of a failure of this server, for the log only. */
export function causeOf(error: ApiError): string | undefined {
  if (error.status < 500 || error.cause === undefined) return undefined
  return error.cause instanceof Error ? error.cause.message : String(error.cause)
}
