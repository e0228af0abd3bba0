/** Routes that answer at once. */
import { ApiError } from './errors.ts'
import type { RequestContext, Server } from './server.ts'
import { engineOf, modelNames, unknownModel } from './server.ts'

/** The process is there. */
export function health(): Response {
  return Response.json({ status: 'ok' })
}

/** Whether a request would be answered without loading a model first. */
export function ready({ holder, drain }: Server) {
  return (): Response => {
    const status = drain?.aborted ? 'stopping' : holder.loaded ? 'ready' : 'not loaded'
    const ok = status === 'ready'
    return Response.json({ status }, { status: ok ? 200 : 503, headers: ok ? {} : { 'retry-after': '2' } })
  }
}

/** Where there are keys, for those that may read it: it tells of all callers together. */
export function metricsPage({ metrics, holder, admission, bodies, downloads, routes }: Server) {
  return (c: RequestContext): Response => {
    const { key } = c.get('caller')
    if (key && !key.metrics)
      throw new ApiError(403, 'this key may not read metrics; its entry in config.keys says so', { code: 'forbidden' })
    const type = 'text/plain; version=0.0.4; charset=utf-8'
    const held = {
      answers: admission.running,
      waiting: admission.waiting,
      bodyBytes: bodies.bytes,
      downloads: downloads.running,
    }
    return new Response(metrics.text(holder.loaded, held, routes.states), { headers: { 'content-type': type } })
  }
}

/** Names of the config are told without loading. */
export function listModels(server: Server) {
  return async (c: RequestContext): Promise<Response> =>
    Response.json({ object: 'list', data: (await names(c, server)).map(describe) })
}

export function oneModel(server: Server) {
  return async (c: RequestContext): Promise<Response> => {
    const name = c.req.param('model') ?? ''
    if (!(await names(c, server)).includes(name)) throw unknownModel(name)
    return Response.json(describe(name))
  }
}

async function names(c: RequestContext, server: Server): Promise<readonly string[]> {
  return server.config.models ?? modelNames(server.config, await engineOf(c, server))
}

function describe(id: string) {
  return { id, object: 'model', created: 0, owned_by: 'foretoken' }
}
