/**
 * The app of a companion: an engine that reads prompts for edges, and sends back their K and V or
 * the answer.
 *
 *     POST /v1/prefill   streams K and V of a range of token ids (src/transfer/wire.ts)
 *     POST /v1/relay     streams the answer to token ids, a sealed line each (src/transfer/seal.ts)
 *     GET  /v1/status    load, and recent speed
 *
 * These requests are signed (src/transfer/signature.ts). All other routes are those of the edge's
 * app, so that a companion is an OpenAI endpoint, too.
 */
import type { z } from '@hono/zod-openapi'
import { Hono } from 'hono'
import { ApiError, asApiError, stopping } from '../edge/errors.ts'
import { isRefusal, type Work } from '../edge/guard/refused.ts'
import { ShapeCounter, shapeLimits } from '../edge/guard/shape.ts'
import { createApp, type LogLine, type ServerConfig } from '../edge/index.ts'
import { tenths } from '../edge/record.ts'
import { log } from '../edge/server.ts'
import { validate } from '../edge/validate.ts'
import { isAnyEngine, Lifetime, LineSeal, Nonces } from '../src/index.ts'
import { createEdgeGate, type EdgeGateLimits } from './edge-gate.ts'
import { type Edge, Guard, type GuardLimits, type Verified } from './guard.ts'
import { Pace } from './pace.ts'
import type { PromptReader } from './reader.ts'
import { prefillRequest, relayRequest } from './schemas.ts'
import { byteStream, lineStream, Stalled } from './streams.ts'

export interface CompanionLimits extends EdgeGateLimits, GuardLimits {
  /** Maximum size of a request body, in bytes. */
  readonly bodyBytes: number
  /** Time that an edge may leave a stream unread before it is given up. */
  readonly stallSeconds: number
}

/** Limits of a companion whose options name none. */
export const defaultLimits: CompanionLimits = {
  running: 8,
  waitingPerEdge: 16,
  bodyBytes: 4 << 20,
  bodiesBytes: 64 << 20,
  requestsPerMinute: 6000,
  refusedBytesPerMinute: 256 << 20,
  stallSeconds: 60,
}

export interface CompanionOptions {
  readonly engine: PromptReader
  readonly edges: readonly Edge[]
  /**
   * Config of the OpenAI endpoint. Without it, and with a reader that takes only token ids, there
   * is none.
   */
  readonly config?: ServerConfig | undefined
  readonly limits?: Partial<CompanionLimits>
  /** Once aborted, new requests are refused. */
  readonly drain?: AbortSignal
  /** Called at the end of each request with a line for a log, which holds no prompt. */
  readonly onRequest?: (line: LogLine) => void
}

/** Codecs of any engine that sends K and V. */
const codecs = ['f32', 'f16', 'int8', 'int4']

/** Creates the app. Throws `bad_argument` for an invalid config. */
export function createCompanion(options: CompanionOptions): Pick<Hono, 'fetch'> {
  const { engine, edges, config, limits = {}, drain, onRequest } = options
  const all = { ...defaultLimits, ...limits }
  const bounds = { bodyBytes: all.bodyBytes, bodySeconds: 30, drain }
  const stallMs = all.stallSeconds * 1000
  // A body of 4 MB can hold a million lists. More than any request needs is refused before it is
  // parsed.
  const shape = { ...shapeLimits, scalars: Math.max(shapeLimits.scalars, 2 * engine.context + 4 * shapeLimits.keys) }
  const guard = new Guard(edges, new Nonces(), all)
  const turns = createEdgeGate(all, edges.length > 1)
  const pace = new Pace()
  const app = new Hono()
  app.onError((error) => {
    const { body, status, headers } = asApiError(error)
    return Response.json(body, { status, headers })
  })

  app.post('/v1/prefill', ({ req }) =>
    served(req.raw, async (life, read) => {
      if (!engine.kvOf)
        throw new ApiError(400, `${engine.backend.build} answers whole prompts, and sends no K and V`, {
          code: 'unsupported',
        })
      const { edge, nonce, fields } = await read(prefillRequest)
      const { ids, codec, from, to, tenant } = fields
      await turn(edge, life, { route: '/v1/prefill', tokens: to - from, codec })
      const kv = engine.kvOf(ids, {
        codec,
        from,
        to,
        key: edge.key,
        context: nonce,
        tenant: tenantOf(edge, tenant),
        signal: life.signal,
        onTimings: ({ queue_ms, prefill_ms, cached_tokens }) => pace.learn(prefill_ms - queue_ms, to - cached_tokens),
      })
      return byteStream(kv, life, stallMs)
    }),
  )

  app.post('/v1/relay', ({ req }) =>
    served(req.raw, async (life, read) => {
      const { edge, nonce, fields } = await read(relayRequest)
      const { ids, maxTokens, options, after, tenant } = fields
      await turn(edge, life, { route: '/v1/relay', tokens: ids.length })
      const seal = await LineSeal.of(edge.key, nonce)
      const present = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
      const answer = engine.submit({
        ...present,
        prompt: ids,
        maxTokens,
        after,
        tenant: tenantOf(edge, tenant),
        signal: life.signal,
      })
      return lineStream(linesOf(answer, pace, ids.length), seal, life, stallMs)
    }),
  )

  app.get('/v1/status', async ({ req }) => {
    const { work } = await guard.verified(req.raw, { ...bounds, bodyBytes: 0 })
    work.close(false)
    const { running, waiting } = engine.stats
    return Response.json({
      model: engine.identity,
      build: engine.backend.build,
      running,
      waiting: waiting + turns.waiting,
      ...(pace.msPerToken !== undefined && { prefill_ms_per_token: pace.msPerToken }),
      codecs: engine.kvOf ? [...codecs, ...(engine.prediction ? ['residual'] : [])] : [],
      memory_bytes: engine.backend.memoryBytes(),
      context: engine.context,
    })
  })

  if (config && isAnyEngine(engine)) {
    const openai = createApp({ engine, config, ...(drain && { drain }), ...(onRequest && { onRequest }) })
    app.all('*', ({ req }) => openai.fetch(req.raw))
  }
  app.notFound(() => {
    throw new ApiError(404, 'there is no such route; this companion only works for edges', { code: 'not_found' })
  })
  return app

  /**
   * Runs a request in a lifetime of its own, which ends at the latest when the edge goes away.
   * `run` reads the request by calling `read`. Until its answer begins, the bytes that were read
   * count as refused.
   */
  async function served(
    request: Request,
    run: (life: Lifetime, read: <S extends RequestSchema>(schema: S) => Promise<Read<S>>) => Promise<Response>,
  ): Promise<Response> {
    const life = new Lifetime().follow(request.signal)
    let work: Work | undefined
    try {
      const response = await run(life, async (schema) => {
        if (drain?.aborted) throw stopping('the companion')
        const verified = await guard.verified(request, bounds)
        work = verified.work
        return readAs(schema, verified)
      })
      work?.close(false)
      return response
    } catch (error) {
      work?.close(isRefusal(asApiError(error)))
      await life.end(error)
      throw error
    }
  }

  /** Waits for a turn, which lasts until the end of the request, and logs the request then. */
  async function turn(edge: Edge, life: Lifetime, what: Readonly<Record<string, string | number>>): Promise<void> {
    const begun = performance.now()
    const leave = await turns.enter({ tenant: edge.id, signal: life.signal })
    const queue_ms = tenths(performance.now() - begun)
    life.hold(() => {
      leave()
      const ms = tenths(performance.now() - begun)
      const stalled = life.signal.reason instanceof Stalled
      const time = new Date().toISOString()
      log(onRequest, { time, edge: edge.id, ...what, queue_ms, ms, ...(stalled && { aborted: 'stalled' }) })
    })
  }

  function readAs<S extends RequestSchema>(schema: S, { edge, nonce, body }: Verified): Read<S> {
    new ShapeCounter(shape).count(body, body.length)
    const json = jsonOf(body)
    checkLength(json, engine.context)
    const fields = validate(schema, json)
    if (fields.model !== engine.identity)
      throw new ApiError(404, `another model runs here, ${engine.archive.name} (${engine.identity.slice(0, 12)})`, {
        code: 'model_not_found',
        param: 'model',
      })
    return { edge, nonce, fields }
  }
}

type RequestSchema = z.ZodType<{ model: string }>
type Read<S extends RequestSchema> = Pick<Verified, 'edge' | 'nonce'> & { readonly fields: z.output<S> }

/** Yields the tokens and the end of an answer, an object for each line. */
async function* linesOf(
  answer: ReturnType<PromptReader['submit']>,
  pace: Pace,
  tokens: number,
): AsyncGenerator<object> {
  for await (const event of answer) {
    if (event.type === 'token') {
      const { id, logprob, topLogprobs } = event
      yield { id, logprob, ...(topLogprobs && { topLogprobs }) }
    }
    if (event.type === 'done') {
      pace.learn(event.timings.prefill_ms, tokens - event.cached_tokens)
      yield { done: true }
    }
  }
}

/** Returns a tenant's name that is distinct for each edge. */
function tenantOf(edge: Edge, tenant: string): string {
  return `edge:${edge.id}:${tenant}`
}

function jsonOf(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  } catch (cause) {
    throw new ApiError(400, 'the body is not valid JSON in UTF-8', { code: 'invalid_json', cause })
  }
}

/** Refuses more tokens than the context holds, before a schema checks each of them. */
function checkLength(json: unknown, context: number): void {
  const { ids, after } = (json ?? {}) as Readonly<Record<string, unknown>>
  for (const list of [ids, after])
    if (Array.isArray(list) && list.length > context)
      throw new ApiError(400, `${list.length} tokens exceed the context of ${context} that the companion has`, {
        code: 'context_length_exceeded',
      })
}
