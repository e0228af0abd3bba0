/**
 * Answers a request for text. It goes through these steps; each is bounded before the next, more
 * expensive one begins:
 *
 *     connection    as many as the host accepts (node.ts)
 *     identity      the tenant of the request, and its permission (middleware.ts, guard/keys.ts, guard/hosts.ts)
 *     rate          requests per minute, and bytes of refused ones (guard/rate.ts, guard/refused.ts)
 *     bytes         of this body, and of all bodies together (body.ts, guard/bodies.ts)
 *     shape         counts while the bytes arrive (guard/shape.ts), then the names of other servers (normalize.ts), then the schema, up
 *                   to its first fault (validate.ts)
 *     cost          estimated answers and tokens, of this tenant and of all (guard/admission.ts)
 *     tokenize      once for all answers to a prompt, and
 *     schedule      by the engine (choices.ts)
 */
import type { z } from '@hono/zod-openapi'
import type { TextService } from '../src/index.ts'
import { readJson } from './body.ts'
import type { Config } from './config.ts'
import { ApiError, asApiError } from './errors.ts'
import { type Contract, type Endpoint, Exchange, type Plan, type PlanContext } from './exchange.ts'
import { fieldOf } from './fields.ts'
import type { Cost } from './guard/admission.ts'
import { isRefusal } from './guard/refused.ts'
import { ShapeCounter, shapeLimits } from './guard/shape.ts'
import type { Known } from './models.ts'
import { normalize } from './normalize.ts'
import { noAnswers } from './purpose.ts'
import { tenths } from './record.ts'
import { checkRunning, hostOf, type RequestContext, type Server } from './server.ts'
import { unknownField, validate } from './validate.ts'

/**
 * Answers a request with text. Throws ApiError and ForetokenError. A failure in the middle of a
 * stream is reported in the stream.
 */
export function answer<S extends z.ZodType<{ model: string }>>(
  c: RequestContext,
  server: Server,
  endpoint: Endpoint<S>,
): Promise<Response> {
  return received(c, server, endpoint, async ({ body, exchange, accept }) => {
    const unloaded = endpoint.unloaded?.(body)
    if (unloaded !== undefined) {
      // Loading a model only to unload it would take its time, and the places of others.
      const model = server.models.unload(body.model)
      if (model !== undefined) c.get('record').model = model
      return done(unloaded, exchange, accept)
    }
    // Before anything else of the request is found wrong: no change of it would help.
    const context = await contextOf(c, server, { ...endpoint, require: requireAnswers }, body, exchange)
    const ready = endpoint.ready?.(body, context)
    if (ready !== undefined) return done(ready, exchange, accept)
    const plan = endpoint.plan(body, context)
    await admitPlan(c, server, plan, context.engine, exchange)
    const choices = await exchange.begin(server.routes.of(context.engine), plan)
    // The prompt has been tokenized, so the request no longer counts as refused.
    accept()
    return plan.stream ? await exchange.stream(choices, plan) : await exchange.json(choices, plan)
  })
}

/** Throws an ApiError of 400 for a model that was not made to answer. */
function requireAnswers({ id, purpose }: Known): void {
  if (purpose === 'answers') return
  const path = purpose === 'ranking' ? '/v1/rerank' : '/v1/embeddings'
  throw new ApiError(400, `${id} ${noAnswers[purpose]}; POST ${path}, or name another model`, {
    code: 'unsupported_value',
    param: 'model',
  })
}

/** A request that is answered without text of the model. */
export interface Query<S extends z.ZodType<{ model: string }>> extends Contract<S> {
  /** Resolves with the body of the answer. `count` returns the number of tokens of a prompt. */
  answer(
    body: z.output<S>,
    context: PlanContext,
    count: (request: Plan['requests'][number]) => Promise<number>,
  ): Promise<unknown>
}

/** Answers a query. Throws as `answer`. */
export function consult<S extends z.ZodType<{ model: string }>>(
  c: RequestContext,
  server: Server,
  query: Query<S>,
): Promise<Response> {
  return received(c, server, query, async ({ body, exchange, accept }) => {
    const context = await contextOf(c, server, query, body, exchange)
    const { engine } = context
    const answer = await query.answer(body, context, async (request) => {
      const single = { requests: [{ ...request, maxTokens: 0 }], choices: 1 }
      await admitPlan(c, server, single, engine, exchange)
      exchange.startClock()
      const { tenant } = c.get('caller')
      return (await engine.prepare(request.prompt, { ...request, tenant, signal: exchange.signal })).length
    })
    return done(answer, exchange, accept)
  })
}

/** A request whose body has been checked. */
export interface Received<T> {
  readonly body: T
  readonly exchange: Exchange
  /** Gives back the memory of the body, and settles that the request was not refused. */
  accept(): void
}

/** Reads and checks a body, and hands it to `then`, whose failures end the request. */
export async function received<S extends z.ZodType<{ model: string }>>(
  c: RequestContext,
  server: Server,
  contract: Contract<S>,
  then: (request: Received<z.output<S>>) => Promise<Response>,
): Promise<Response> {
  const { config } = server
  const caller = c.get('caller')
  const exchange = new Exchange(c, server)
  const work = server.rate.work(caller)
  try {
    const room = server.bodies.enter(caller.tenant)
    exchange.hold(room.release)
    const shape = new ShapeCounter({ ...shapeLimits, entries: contract.entries(config) })
    const watch = { room, work, shape, drain: server.drain, anyType: contract.anyType ?? false }
    const { body: normalized, ignored } = normalize(
      contract.form,
      contract.schema,
      await readJson(c.req.raw, config.limits, watch),
    )
    const body = validate(contract.schema, normalized)
    exchange.fieldOf = (argument) => fieldOf(argument, body)
    noteIgnored(c, config, ignored)
    checkRunning(server)
    const accept = () => {
      room.release()
      work.close(false)
    }
    return await then({ body, exchange, accept })
  } catch (error) {
    const failure = asApiError(exchange.explained(error), exchange.fieldOf)
    work.close(isRefusal(failure))
    exchange.end()
    throw failure
  }
}

function done(body: unknown, exchange: Exchange, accept: () => void): Response {
  accept()
  exchange.end()
  return Response.json(body)
}

/** Waits for room for a request that is not too large. */
async function admitPlan(
  c: RequestContext,
  server: Server,
  plan: Pick<Plan, 'requests' | 'choices'>,
  engine: TextService,
  exchange: Exchange,
): Promise<void> {
  checkSize(plan, engine.context, server.config)
  await admit(c, server, costOf(plan, engine.context), engine, exchange)
}

/** Waits for room for a request of known cost. */
export async function admit(
  c: RequestContext,
  { admission }: Server,
  cost: Cost,
  { context }: TextService,
  exchange: Exchange,
): Promise<void> {
  const asked = performance.now()
  exchange.hold(await admission.enter(c.get('caller'), cost, context, exchange.signal))
  const waited = tenths(performance.now() - asked)
  if (waited > 0) c.get('record').wait_ms = waited
}

/**
 * Records the ignored fields, for the log and a header. Throws an ApiError of 400 if the config is
 * strict.
 */
function noteIgnored(c: RequestContext, { strict }: Config, ignored: readonly string[]): void {
  const [first] = ignored
  if (first === undefined) return
  if (strict) throw unknownField(first)
  c.get('record').ignored = headerOf(ignored)
}

/**
 * Joins names for a header. They come from outside: characters that a header or a log cannot hold
 * become `?`, and long names are cut.
 */
function headerOf(names: readonly string[]): string {
  const shown = names.map((name) => name.replace(/[^\w.[\]-]/g, '?'))
  return shown.map((name) => (name.length > 60 ? `${name.slice(0, 60)}...` : name)).join(', ')
}

/**
 * Finds the model that a request means, and holds it until the request ends. Throws an ApiError:
 * 404, 503.
 */
export async function contextOf<S extends z.ZodType<{ model: string }>>(
  c: RequestContext,
  { config, models }: Server,
  { idleMs, require }: Contract<S>,
  body: z.output<S>,
  exchange: Exchange,
): Promise<PlanContext> {
  const began = performance.now()
  const asking = {
    host: hostOf(c),
    signal: exchange.signal,
    idleMs: idleMs?.(body),
    ...(require && { require: (model: Known) => require(model, body) }),
  }
  const { engine, id, model, release } = await models.use(body.model, asking)
  exchange.hold(release)
  const loadMs = performance.now() - began
  const record = c.get('record')
  record.model = model
  if (loadMs >= 1) record.load_ms = tenths(loadMs)
  const created = Math.floor(Date.now() / 1000)
  return { engine, config, model: id, created, loadMs, requestId: record.id }
}

/**
 * Refuses what is too large before anything is computed, since even tokenizing a long text takes
 * time.
 */
function checkSize(
  { requests, choices }: Pick<Plan, 'requests' | 'choices'>,
  context: number,
  { limits }: Config,
): void {
  const answers = requests.length * choices
  if (answers > limits.choices)
    throw new ApiError(
      400,
      `${requests.length} prompts x ${choices} choices are ${answers} answers; at most ${limits.choices}`,
      { code: 'invalid_value', param: 'n' },
    )
  const { promptTokens = context, outputTokens } = limits
  for (const { prompt, maxTokens } of requests) {
    if (outputTokens !== undefined && maxTokens !== undefined && maxTokens > outputTokens)
      throw new ApiError(400, `${maxTokens} tokens were asked for; this server makes at most ${outputTokens}`, {
        code: 'invalid_value',
        param: 'max_tokens',
      })
    const { units, ids } = lengthOf(prompt)
    if (ids) checkLength(units, Math.min(context, promptTokens), `${units} tokens`)
    else checkLength(units / charactersPerToken, Math.min(context, promptTokens), `${units} characters`)
  }
}

/** Maximum number of characters per token: no text has more on average. */
const charactersPerToken = 32
/** Usual number of characters per token, for an estimate. */
export const usualCharactersPerToken = 4

function checkLength(tokens: number, most: number, what: string): void {
  if (tokens > most)
    throw new ApiError(400, `the prompt has ${what}, more than ${most} tokens can hold; shorten it`, {
      code: 'context_length_exceeded',
    })
}

/**
 * Estimates the cost of a request: each prompt once, and every answer to it at its maximum length.
 */
function costOf({ requests, choices }: Pick<Plan, 'requests' | 'choices'>, context: number): Cost {
  let tokens = 0
  for (const { prompt, tools, maxTokens = context } of requests) {
    const { units, ids } = lengthOf(prompt)
    const characters = ids ? 0 : units + besideContent(prompt) + charactersOf(tools)
    const read = Math.min(context, ids ? units : Math.ceil(characters / usualCharactersPerToken))
    tokens += read + choices * Math.min(maxTokens, context - read)
  }
  return { answers: requests.length * choices, tokens }
}

/** Returns the number of UTF-16 units of a text or of all messages, or the number of token ids. */
function lengthOf(prompt: Plan['requests'][number]['prompt']): { readonly units: number; readonly ids: boolean } {
  if (typeof prompt === 'string') return { units: prompt.length, ids: false }
  let units = 0
  for (const entry of prompt) {
    if (typeof entry === 'number') return { units: prompt.length, ids: true }
    const { content } = entry
    if (typeof content === 'string') units += content.length
    else for (const { text } of content ?? []) units += text.length
  }
  return { units, ids: false }
}

/**
 * Returns the number of characters of calls and thoughts in a conversation. A template may drop
 * them, so they count towards the cost of a request, and not towards its limit.
 */
function besideContent(prompt: Plan['requests'][number]['prompt']): number {
  if (typeof prompt === 'string') return 0
  let characters = 0
  for (const entry of prompt)
    if (typeof entry !== 'number') characters += charactersOf(entry.tool_calls) + (entry.reasoning_content?.length ?? 0)
  return characters
}

/** Returns the number of characters in a value of JSON: those of its keys, texts and numbers. */
function charactersOf(value: unknown): number {
  if (typeof value === 'string') return value.length
  if (Array.isArray(value)) return value.reduce((sum: number, item) => sum + charactersOf(item), 0)
  if (typeof value !== 'object' || value === null) return value === undefined ? 0 : String(value).length
  return Object.entries(value).reduce((sum, [key, item]) => sum + key.length + charactersOf(item), 0)
}
