/** What happens around every request: its record, its answer's common headers, who may ask, and failures in OpenAI's shape. */
import type { Context, MiddlewareHandler } from 'hono'
import { cors } from 'hono/cors'
import { routePath } from 'hono/route'
import type { Config } from './config.ts'
import { ApiError, asApiError } from './errors.ts'
import { causeOf } from './exchange.ts'
import { checkHost } from './guard/hosts.ts'
import { newId } from './ids.ts'
import type { RequestRecord } from './record.ts'
import type { App, AppEnv, Server } from './server.ts'
import { checkRunning, finish } from './server.ts'

type Middleware = MiddlewareHandler<AppEnv>

/** A record of the request; counted and logged here, unless it streams: then when the stream ends. */
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
    c.header('x-content-type-options', 'nosniff')
    if (record.ignored !== undefined) c.header('x-foretoken-ignored', record.ignored)
    if (!c.res.headers.has('cache-control')) c.header('cache-control', 'no-store')
    record.route = routeOf(c)
    record.status = c.res.status
    if (!record.streaming) finish(server, record)
  }
}

/** The pattern that answered. */
function routeOf(c: Context): string {
  const pattern = routePath(c, -1)
  return pattern.startsWith('/v1/models/')
    ? '/v1/models/:model'
    : pattern === '/*' || pattern === '*'
      ? 'none'
      : pattern
}

/** Refuses an address or a host name that can't be read: what comes after it may take both as they are. */
export const wellFormed: Middleware = async (c, next) => {
  const { url, headers } = c.req.raw
  const host = headers.get('host')
  if (!URL.canParse(url) || (host !== null && !isHost(host)))
    throw new ApiError(400, 'the address or the host name is malformed', { code: 'invalid_url' })
  if (!isReadable(new URL(url).pathname))
    throw new ApiError(
      400,
      'the path is malformed: after each % come two hex digits of UTF-8, none of a control character',
      {
        code: 'invalid_url',
      },
    )
  await next()
}

/** A name or an address, and perhaps a port. */
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

/** What pages of the config's origins may read of an answer. */
const exposed = [
  'x-request-id',
  'x-foretoken-prefill',
  'x-foretoken-route',
  'x-foretoken-ignored',
  'server-timing',
  'retry-after',
]

/**
 * CORS for the origins of the config; nothing where there are none. Clients in pages send headers of their own (`x-stainless-os`,
 * `openai-beta`), which do no harm here: whatever a preflight asks for is allowed.
 */
export function shareWithOrigins({ origins }: Config): Middleware[] {
  if (origins.length === 0) return []
  const shared = cors({ origin: origins, allowMethods: ['GET', 'POST'], exposeHeaders: exposed, maxAge: 600 })
  return [
    async (c, next) => {
      if (c.req.method !== 'OPTIONS') return shared(c, next)
      checkAskedHeaders(c.req.header('access-control-request-headers') ?? '')
      const response = await shared(c, next)
      // A page from the network asks before it calls a server on this machine.
      const trusted = origins.includes(c.req.header('origin') ?? '')
      if (response && trusted && c.req.header('access-control-request-private-network') === 'true')
        response.headers.set('access-control-allow-private-network', 'true')
      return response
    },
  ]
}

/** They are sent back as they are. */
function checkAskedHeaders(asked: string): void {
  const names = asked.split(',')
  if (asked === '' || (asked.length <= 4096 && names.length <= 64 && names.every((name) => isHeaderName(name.trim()))))
    return
  throw new ApiError(400, 'a preflight asks for at most 64 headers, by their names, in 4096 bytes', {
    code: 'invalid_value',
  })
}

/** RFC 9110's token. */
function isHeaderName(name: string): boolean {
  return /^[\w!#$%&'*+.^`|~-]+$/.test(name)
}

/** Who asks, and whether they may now. */
export function guard(server: Server): Middleware {
  const { config, keys, rate } = server
  return async (c, next) => {
    checkHost(c.req.raw, config)
    const caller = keys.callerOf(c.req.raw)
    c.set('caller', caller)
    if (caller.name) c.get('record').caller = caller.name
    // Whoever watches the server sees it while its callers ask for too much.
    if (c.req.path !== '/metrics') rate.countRequest(caller, c.req.method === 'POST' ? 'answers' : 'reads')
    if (c.req.method === 'POST') checkRunning(server)
    await next()
  }
}

/** A known path with another method: 405, which says what is taken. */
export function onlyMethods(app: App): void {
  const methods = new Map<string, string[]>()
  for (const { path, method } of app.routes)
    if (method !== 'ALL' && method !== 'OPTIONS') methods.set(path, [...(methods.get(path) ?? []), method])
  for (const [path, allowed] of methods)
    app.all(path, (c) => {
      throw new ApiError(405, `${c.req.method} is not taken here; ${allowed.join(', ')} is`, {
        code: 'method_not_allowed',
        headers: { allow: allowed.join(', ') },
      })
    })
}

export function tellFailure(error: Error, c: Context<AppEnv>): Response {
  const told = asApiError(error)
  const record = c.get('record')
  record.code = told.code
  const cause = causeOf(told)
  if (cause !== undefined) record.cause = cause
  return Response.json(told.body, { status: told.status, headers: told.headers })
}

export function tellMissing(c: Context<AppEnv>): Response {
  const { path } = c.req
  // Its clients show an error that is a text.
  if (/^\/api\//.test(path)) {
    tellFailure(notFound('not_found'), c)
    const error = `this server does not speak Ollama's protocol; use a client for OpenAI's, with ${new URL(c.req.url).origin}/v1 as its base address`
    return Response.json({ error }, { status: 404 })
  }
  return tellFailure(
    notFound(
      'there is no such route; the base address of clients ends with /v1, as in /v1/chat/completions, and GET /openapi.json lists all routes',
    ),
    c,
  )
}

function notFound(message: string): ApiError {
  return new ApiError(404, message, { code: 'not_found' })
}
