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
import { type Endpoint, Exchange, type Plan } from './exchange.ts'
import type { Cost } from './guard/admission.ts'
import { isRefusal } from './guard/refused.ts'
import { ShapeCounter, shapeLimits } from './guard/shape.ts'
import { normalize } from './normalize.ts'
import { tenths } from './record.ts'
import { checkRunning, engineOf, modelNames, type RequestContext, type Server, unknownModel } from './server.ts'
import { unknownField, validate } from './validate.ts'

/**
 * Throws ApiError and ForetokenError. A failure in the middle of a stream is reported in the
 * stream.
 */
export async function answer<S extends z.ZodType<{ model: string }>>(
  c: RequestContext,
  server: Server,
  endpoint: Endpoint<S>,
): Promise<Response> {
  const { config } = server
  const caller = c.get('caller')
  const exchange = new Exchange(c, server)
  const work = server.rate.work(caller)
  try {
    const room = server.bodies.enter(caller.tenant)
    exchange.hold(room.release)
    const shape = new ShapeCounter({ ...shapeLimits, entries: endpoint.entries(config) })
    const { body: normalized, ignored } = normalize(
      endpoint.form,
      endpoint.schema,
      await readJson(c.req.raw, config.limits, { room, work, shape, drain: server.drain }),
    )
    const body = validate(endpoint.schema, normalized)
    noteIgnored(c, config, ignored)
    checkRunning(server)

    const { plan, engine } = await planOf(c, server, endpoint, body)
    const { context } = engine
    checkSize(plan, context, config)
    const asked = performance.now()
    exchange.hold(await server.admission.enter(caller, costOf(plan, context), context, exchange.signal))
    const waited = tenths(performance.now() - asked)
    if (waited > 0) c.get('record').wait_ms = waited

    const choices = await exchange.begin(server.routes.of(engine), plan)
    // The prompt has been tokenized, so the request no longer counts as refused.
    room.release()
    work.close(false)
    return plan.stream ? await exchange.stream(choices, plan) : await exchange.json(choices, plan)
  } catch (error) {
    const failure = asApiError(exchange.explained(error))
    work.close(isRefusal(failure))
    exchange.end()
    throw failure
  }
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

async function planOf<S extends z.ZodType<{ model: string }>>(
  c: RequestContext,
  server: Server,
  endpoint: Endpoint<S>,
  body: z.output<S>,
): Promise<{ plan: Plan; engine: TextService }> {
  const { config } = server
  if (config.models && !config.models.includes(body.model)) throw unknownModel(body.model)
  const engine = await engineOf(c, server)
  if (!modelNames(config, engine).includes(body.model)) throw unknownModel(body.model)
  c.get('record').model = body.model
  const created = Math.floor(Date.now() / 1000)
  return { plan: endpoint.plan(body, { engine, config, model: body.model, created }), engine }
}

/**
 * Refuses what is too large before anything is computed, since even tokenizing a long text takes
 * time.
 */
function checkSize({ requests, choices }: Plan, context: number, { limits }: Config): void {
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
const usualCharactersPerToken = 4

function checkLength(tokens: number, most: number, what: string): void {
  if (tokens > most)
    throw new ApiError(400, `the prompt has ${what}, more than ${most} tokens can hold; shorten it`, {
      code: 'context_length_exceeded',
    })
}

/**
 * Estimates the cost of a request: each prompt once, and every answer to it at its maximum length.
 */
function costOf({ requests, choices }: Plan, context: number): Cost {
  let tokens = 0
  for (const { prompt, maxTokens = context } of requests) {
    const { units, ids } = lengthOf(prompt)
    const read = Math.min(context, Math.ceil(ids ? units : units / usualCharactersPerToken))
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
