/**
 * One request for text, from its body to its last byte: checked, admitted, run, written, counted. The endpoints say what the body
 * means and how the answer is written; everything else is here.
 */
import type { z } from '@hono/zod-openapi'
import { type AnyEngine, ForetokenError, type GenerateRequest } from '../src/index.ts'
import { readJson } from './body.ts'
import type { Config } from './config.ts'
import { ApiError, asApiError } from './errors.ts'
import { Meter } from './meter.ts'
import { routeHeader } from './route/header.ts'
import { type Answering, Run, type RunEvent } from './run.ts'
import { engineOf, finish, modelNames, type RequestContext, type Server, unknownModel } from './server.ts'
import { eventStream, type Opening, opening } from './sse.ts'
import { timingHeaders } from './usage.ts'
import { validate } from './validate.ts'

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
  readonly schema: S
  plan(body: z.output<S>, context: PlanContext): Plan
}

/** Throws ApiError and ForetokenError; what fails in the middle of a stream is told in the stream. */
export async function answer<S extends z.ZodType<{ model: string }>>(
  c: RequestContext,
  server: Server,
  endpoint: Endpoint<S>,
): Promise<Response> {
  const { config } = server
  const body = validate(endpoint.schema, await readJson(c.req.raw, config.limits))
  if (config.models && !config.models.includes(body.model)) throw unknownModel(body.model)
  const engine = await engineOf(c, server)
  if (!modelNames(config, engine).includes(body.model)) throw unknownModel(body.model)
  const record = c.get('record')
  record.model = body.model
  const plan = endpoint.plan(body, { engine, config, model: body.model, created: Math.floor(Date.now() / 1000) })
  const answers = plan.requests.length * plan.choices
  checkSize(plan, answers, engine, config)
  const leave = server.admission.enter(c.get('caller'), answers)
  const exchange = new Exchange(c, server, leave)
  try {
    const run = await exchange.begin(server.routes.of(engine), plan)
    return plan.stream ? await exchange.stream(run, plan) : await exchange.json(run, plan)
  } catch (error) {
    exchange.end()
    throw exchange.explained(error)
  }
}

class Exchange {
  readonly #c: RequestContext
  readonly #server: Server
  readonly #leave: () => void
  readonly #control = new AbortController()
  readonly #timer: ReturnType<typeof setTimeout>
  readonly #gone = () => this.#abort('gone')
  #ended = false

  constructor(c: RequestContext, server: Server, leave: () => void) {
    this.#c = c
    this.#server = server
    this.#leave = leave
    const { requestSeconds } = server.config.limits
    this.#timer = setTimeout(() => this.#abort('timeout'), requestSeconds * 1000)
    const { signal } = c.req.raw
    if (signal.aborted) this.#abort('gone')
    else signal.addEventListener('abort', this.#gone)
  }

  begin(answering: Answering, { requests, choices, progress }: Plan): Promise<Run> {
    const { tenant } = this.#c.get('caller')
    return Run.begin(
      answering,
      requests.map((request) => ({ ...request, tenant })),
      { signal: this.#control.signal, progress, choices, promptTokens: this.#server.config.limits.promptTokens },
    )
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
      cancel: (reason) => {
        this.#abort(reason)
        this.end()
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

  #abort(by: 'gone' | 'stalled' | 'timeout'): void {
    if (this.#ended || this.#control.signal.aborted) return
    this.#c.get('record').aborted = by
    this.#control.abort(new ForetokenError('aborted', by))
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
    if (this.#ended) return
    this.#ended = true
    clearTimeout(this.#timer)
    this.#leave()
    // A host may keep a request's signal for as long as somebody listens to it, and this would be kept with it.
    this.#c.req.raw.signal.removeEventListener('abort', this.#gone)
    const record = this.#c.get('record')
    if (record.streaming && record.status === 200) finish(this.#server, record)
  }
}

/** Before anything is computed: a long text costs time to be made into tokens, too. */
function checkSize({ requests, choices }: Plan, answers: number, { context }: AnyEngine, { limits }: Config): void {
  if (answers > limits.choices)
    throw new ApiError(
      400,
      `${requests.length} prompts x ${choices} choices are ${answers} answers; at most ${limits.choices}`,
      {
        code: 'invalid_value',
        param: 'n',
      },
    )
  for (const { prompt, maxTokens } of requests) {
    if (limits.outputTokens !== undefined && maxTokens !== undefined && maxTokens > limits.outputTokens)
      throw new ApiError(400, `${maxTokens} tokens were asked for; this server makes at most ${limits.outputTokens}`, {
        code: 'invalid_value',
        param: 'max_tokens',
      })
    if (typeof prompt === 'string' || typeof prompt[0] === 'number') checkLength(prompt.length, context)
    else {
      const messages = prompt as readonly { readonly content: string }[]
      if (messages.length > limits.messages)
        throw new ApiError(
          413,
          `the conversation has ${messages.length} messages; at most ${limits.messages} are taken`,
          {
            code: 'too_many_messages',
            param: 'messages',
          },
        )
      checkLength(
        messages.reduce((sum, { content }) => sum + content.length, 0),
        context,
      )
    }
  }
}

/** No text has so few tokens that a context could hold more characters for each. */
const charactersPerToken = 32

function checkLength(length: number, context: number): void {
  if (length > charactersPerToken * context)
    throw new ApiError(400, `the prompt has ${length} characters, more than a context of ${context} tokens can hold`, {
      code: 'context_length_exceeded',
    })
}

/** For the log only. */
export function causeOf(error: ApiError): string | undefined {
  if (error.status < 500 || error.cause === undefined) return undefined
  return error.cause instanceof Error ? error.cause.message : String(error.cause)
}
