/**
 * One request for text and all that it holds: whatever lives for it is registered here, and every ending (done, refused, failed, timed
 * out, left, stalled, stopped) runs the one clean-up. The endpoints say what the body means and how the answer is written.
 */
import type { z } from '@hono/zod-openapi'
import { type AnyEngine, ForetokenError, type GenerateRequest } from '../src/index.ts'
import type { Form } from './aliases.ts'
import type { Config } from './config.ts'
import { ApiError, asApiError } from './errors.ts'
import { Meter } from './meter.ts'
import type { Ending } from './paced.ts'
import { routeHeader } from './route/header.ts'
import { type Answering, Run, type RunEvent } from './run.ts'
import { finish, type RequestContext, type Server } from './server.ts'
import { eventStream, type Opening, opening } from './sse.ts'
import { timingHeaders } from './usage.ts'

/** What an endpoint makes of a body. */
export interface Plan {
  /** One for each prompt. */
  readonly requests: readonly Omit<GenerateRequest, 'signal' | 'tenant'>[]
  /** Answers to each prompt. */
  readonly choices: number
  readonly stream: boolean
  readonly progress: boolean
  /** Answers as one JSON object. */
  body(events: AsyncIterable<RunEvent>): Promise<unknown>
  /** Answers as server-sent events; nothing is yielded before there is something to show. */
  frames(events: AsyncIterable<RunEvent>): AsyncGenerator<string>
  /** A failure in the middle of a stream. */
  failed(error: ApiError): string
}

export interface PlanContext {
  readonly engine: AnyEngine
  readonly config: Config
  /** As the answer names it. */
  readonly model: string
  /** Seconds since 1970. */
  readonly created: number
}

export interface Endpoint<S extends z.ZodType<{ model: string }>> {
  readonly form: Form
  readonly schema: S
  /** How many entries the lists and objects of its fields may have. */
  entries(config: Config): Readonly<Record<string, number>>
  plan(body: z.output<S>, context: PlanContext): Plan
}

export class Exchange {
  readonly #c: RequestContext
  readonly #server: Server
  readonly #control = new AbortController()
  readonly #gone = () => this.#leave('gone')
  readonly #holds = new Set<() => void>()
  #timer: ReturnType<typeof setTimeout> | undefined
  #released = false
  #ended = false

  constructor(c: RequestContext, server: Server) {
    this.#c = c
    this.#server = server
    const { signal } = c.req.raw
    if (signal.aborted) this.#leave('gone')
    else signal.addEventListener('abort', this.#gone)
  }

  /** Fires when nobody wants the answer any more. */
  get signal(): AbortSignal {
    return this.#control.signal
  }

  /** Registers what is given back when the request ends; at once, if it has ended. */
  hold(release: () => void): void {
    if (this.#released) release()
    else this.#holds.add(release)
  }

  /** Makes tokens of the prompts and submits them. From here on the time of the answer counts. Rejects with what `Run.begin` rejects with. */
  async begin(answering: Answering, { requests, choices, progress }: Plan): Promise<Run> {
    const { tenant } = this.#c.get('caller')
    const { requestSeconds, promptTokens } = this.#server.config.limits
    this.signal.throwIfAborted()
    this.#timer = setTimeout(() => this.#leave('timeout'), requestSeconds * 1000)
    const { signal } = this
    const run = await Run.begin(
      answering,
      requests.map((request) => ({ ...request, tenant })),
      { signal, progress, choices, promptTokens },
    )
    this.hold(() => run.cancel())
    return run
  }

  async json(run: Run, plan: Plan): Promise<Response> {
    const meter = new Meter(run, this.#server.metrics, this.#c.get('record'), plan.choices)
    const body = await plan.body(meter.events())
    this.end()
    return Response.json(body, { headers: { ...timingHeaders(run.soFar), ...routeHeader(run.routeOf(0)) } })
  }

  /**
   * Headers wait for the first token: so its timings are in them, and a failure before it has a status of its own. A prompt that takes
   * longer than a keep-alive, or whose progress is told, gets its headers earlier and without; the stream's last chunk tells all.
   */
  async stream(run: Run, plan: Plan): Promise<Response> {
    const { config } = this.#server
    const record = this.#c.get('record')
    record.streaming = true
    const meter = new Meter(run, this.#server.metrics, record, plan.choices)
    const sent = { headers: false }
    const frames = this.#told(plan, meter, sent)
    const keepAliveMs = config.keepAliveSeconds * 1000
    let opened: Opening
    try {
      opened = await opening(frames, keepAliveMs)
    } catch (error) {
      record.streaming = false
      throw error
    }
    sent.headers = true
    record.status = 200
    const body = eventStream(frames, opened, {
      keepAliveMs,
      stallMs: config.limits.stallSeconds * 1000,
      end: (ending) => {
        this.#close(ending)
        // It may stand at a frame that nobody will fetch.
        void frames.return(undefined).catch(() => {})
      },
    })
    return new Response(body, {
      headers: {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-cache, no-transform',
        'x-accel-buffering': 'no',
        ...(opened.ready && !plan.progress && { ...timingHeaders(run.soFar), ...routeHeader(run.routeOf(0)) }),
      },
    })
  }

  async *#told(plan: Plan, meter: Meter, sent: { headers: boolean }): AsyncGenerator<string> {
    try {
      yield* plan.frames(meter.events())
      this.end()
    } catch (error) {
      const told = asApiError(this.explained(error))
      if (!sent.headers) throw told
      const record = this.#c.get('record')
      record.code = told.code
      const cause = causeOf(told)
      if (cause !== undefined) record.cause = cause
      this.end()
      yield plan.failed(told)
    }
  }

  #close(ending: Ending): void {
    if (ending === 'gone' || ending === 'stalled') this.#leave(ending)
    this.end()
  }

  /** Stops the work. A client that has time left is told so in its stream; one that is gone is over. */
  #leave(by: 'gone' | 'stalled' | 'timeout'): void {
    if (this.#ended || this.#control.signal.aborted) return
    this.#c.get('record').aborted = by
    this.#control.abort(new ForetokenError('aborted', by))
    this.#release()
    if (by === 'gone') this.end()
  }

  /** A time limit is told as such, and not as the cancellation that it causes. */
  explained(error: unknown): unknown {
    if (this.#c.get('record').aborted !== 'timeout') return error
    const { requestSeconds } = this.#server.config.limits
    return new ApiError(504, `the answer was not complete within ${requestSeconds} s; ask for fewer tokens`, {
      code: 'timeout',
      headers: { 'x-should-retry': 'false' },
    })
  }

  /** Gives everything back, once; of a stream, counts and logs it. */
  end(): void {
    this.#release()
    if (this.#ended) return
    this.#ended = true
    // A host may keep a request's signal for as long as somebody listens to it, and this would be kept with it.
    this.#c.req.raw.signal.removeEventListener('abort', this.#gone)
    const record = this.#c.get('record')
    if (record.streaming && record.status === 200) finish(this.#server, record)
  }

  #release(): void {
    this.#released = true
    clearTimeout(this.#timer)
    for (const release of this.#holds) release()
    this.#holds.clear()
  }
}

/** For the log only. */
export function causeOf(error: ApiError): string | undefined {
  if (error.status < 500 || error.cause === undefined) return undefined
  return error.cause instanceof Error ? error.cause.message : String(error.cause)
}
