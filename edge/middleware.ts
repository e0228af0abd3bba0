/**
 * Middleware around every request: its record, common headers, authorization, and failures in the
 * format of its API.
 */
import type { Context, MiddlewareHandler } from 'hono'
import { cors } from 'hono/cors'
import { routePath } from 'hono/route'
import { type ApiName, apiOf, failureOf } from './apis.ts'
import type { Config } from './config.ts'
import { ApiError, asApiError } from './errors.ts'
import { causeOf } from './exchange.ts'
import { checkHost } from './guard/hosts.ts'
import { newId } from './ids.ts'
import type { RequestRecord } from './record.ts'
import type { App, AppEnv, Server } from './server.ts'
import { checkRunning, finish } from './server.ts'

type Middleware = MiddlewareHandler<AppEnv>

/**
 * Keeps a record of the request. It is counted and logged here, or, for a streamed answer, when the
 * stream ends.
 */
export function observe(server: Server): Middleware {
  return async (c, next) => {
    const record: RequestRecord = {
      id: newId('req', '_'),
      begun: performance.now(),
      method: c.req.method,
      route: 'none',
      status: 0,
      streaming: false,
    }
    c.set('record', record)
    await next()
    c.header('x-request-id', record.id)
    if (apiOf(c.req.raw) === 'anthropic') c.header('request-id', record.id)
    c.header('x-content-type-options', 'nosniff')
    if (record.ignored !== undefined) c.header('x-foretoken-ignored', record.ignored)
    if (!c.res.headers.has('cache-control')) c.header('cache-control', 'no-store')
    record.route = routeOf(c)
    record.status = c.res.status
    if (!record.streaming) finish(server, record)
  }
}

/** Returns the pattern of the route that answered. */
function routeOf(c: Context): string {
  const pattern = routePath(c, -1)
  return pattern.startsWith('/v1/models/')
    ? '/v1/models/:model'
    : pattern === '/*' || pattern === '*'
      ? 'none'
      : pattern
}

/** Refuses an address or a host name that cannot be parsed, so that later code can rely on both. */
export const wellFormed: Middleware = async (c, next) => {
  const { url, headers } = c.req.raw
  const host = headers.get('host')
  if (!URL.canParse(url) || (host !== null && !isHost(host)))
    throw new ApiError(400, 'the address or the host name is malformed', { code: 'invalid_url' })
  if (!isReadable(new URL(url).pathname))
    throw new ApiError(
      400,
      'the path is malformed: each % must begin an escape of UTF-8 text without control characters',
      {
        code: 'invalid_url',
      },
    )
  await next()
}

/** Returns true for a host name or an address with an optional port. */
function isHost(host: string): boolean {
  return !/[\s/?#@\\]/.test(host) && URL.canParse(`http://${host}`)
}

function isReadable(path: string): boolean {
  try {
    return !/\p{Cc}/u.test(decodeURIComponent(path))
  } catch {
    return false
  }
}

/** The headers of an answer that pages of other origins may read. */
const exposed = [
  'x-request-id',
  'request-id',
  'x-foretoken-prefill',
  'x-foretoken-route',
  'x-foretoken-ignored',
  'server-timing',
  'retry-after',
]

/**
 * Returns the CORS middleware for the config's origins, or none. Clients in pages send headers of
 * their own (`x-stainless-os`, `openai-beta`), which do no harm here, so a preflight may ask for
 * any header.
 */
export function shareWithOrigins({ origins }: Config): Middleware[] {
  if (origins.length === 0) return []
  const shared = cors({ origin: origins, allowMethods: ['GET', 'POST'], exposeHeaders: exposed, maxAge: 600 })
  return [
    async (c, next) => {
      if (c.req.method !== 'OPTIONS') return shared(c, next)
      checkAskedHeaders(c.req.header('access-control-request-headers') ?? '')
      const response = await shared(c, next)
      // A page from the network asks for permission before it calls a server on this machine.
      const trusted = origins.includes(c.req.header('origin') ?? '')
      if (response && trusted && c.req.header('access-control-request-private-network') === 'true')
        response.headers.set('access-control-allow-private-network', 'true')
      return response
    },
  ]
}

/** Checks the requested header names, which are echoed in the answer. */
function checkAskedHeaders(asked: string): void {
  const names = asked.split(',')
  if (asked === '' || (asked.length <= 4096 && names.length <= 64 && names.every((name) => isHeaderName(name.trim()))))
    return
  throw new ApiError(400, 'a preflight may ask for at most 64 valid header names, in at most 4096 bytes', {
    code: 'invalid_value',
  })
}

/** Returns true for a token of RFC 9110. */
function isHeaderName(name: string): boolean {
  return /^[\w!#$%&'*+.^`|~-]+$/.test(name)
}

/** Identifies the caller and checks its rate. */
export function guard(server: Server): Middleware {
  const { config, keys, rate } = server
  return async (c, next) => {
    checkHost(c.req.raw, config)
    const caller = keys.callerOf(c.req.raw)
    c.set('caller', caller)
    if (caller.name) c.get('record').caller = caller.name
    // Metrics are not counted, so that monitoring works while clients exceed their rate.
    if (c.req.path !== '/metrics') rate.countRequest(caller, c.req.method === 'POST' ? 'answers' : 'reads')
    if (c.req.method === 'POST') checkRunning(server)
    await next()
  }
}

/** Answers a known path with another method by 405 and the list of allowed methods. */
export function onlyMethods(app: App): void {
  const methods = new Map<string, string[]>()
  for (const { path, method } of app.routes)
    if (method !== 'ALL' && method !== 'OPTIONS') methods.set(path, [...(methods.get(path) ?? []), method])
  for (const [path, allowed] of methods)
    app.all(path, (c) => {
      throw new ApiError(405, `${c.req.method} is not allowed here; use ${allowed.join(' or ')}`, {
        code: 'method_not_allowed',
        headers: { allow: allowed.join(', ') },
      })
    })
}

/** Reports a failure in the form of the API whose route failed. */
export function failureResponse(error: Error, c: Context<AppEnv>): Response {
  const failure = asApiError(error)
  const record = c.get('record')
  record.code = failure.code
  const cause = causeOf(failure)
  if (cause !== undefined) record.cause = cause
  const { status, body } = failureOf(apiOf(c.req.raw), failure, record.id)
  return Response.json(body, { status, headers: failure.headers })
}

const missing: Readonly<Record<ApiName, string>> = {
  openai:
    'there is no such route; the base address of clients ends with /v1, as in /v1/chat/completions, and GET /openapi.json lists all routes',
  anthropic:
    'there is no such route; POST /v1/messages and /v1/messages/count_tokens are those of this API, and GET /openapi.json lists all',
  ollama:
    "there is no such route here: this server has chat, generate, embed, tags, show, ps and version of Ollama's API, and does not change its models",
}

export function missingResponse(c: Context<AppEnv>): Response {
  return failureResponse(new ApiError(404, missing[apiOf(c.req.raw)], { code: 'not_found' }), c)
}
