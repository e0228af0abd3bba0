/** Routes that tell of the server without running it: health, readiness, metrics, models. */
import { modelInfoOf, modelInfos } from './anthropic/models.ts'
import { apiOf } from './apis.ts'
import { ApiError } from './errors.ts'
import type { RequestContext, Server } from './server.ts'
import { engineOf, modelNames, unknownModel } from './server.ts'

/** Tells that the process is up. */
export function health(): Response {
  return Response.json({ status: 'ok' })
}

/** Tells whether a request would be answered without loading a model first. */
export function ready({ holder, drain }: Server) {
  return (): Response => {
    const status = drain?.aborted ? 'stopping' : holder.loaded ? 'ready' : 'not loaded'
    const ok = status === 'ready'
    return Response.json({ status }, { status: ok ? 200 : 503, headers: ok ? {} : { 'retry-after': '2' } })
  }
}

/**
 * Returns the metrics. If there are keys, only those with `metrics` may read them, since they cover
 * all callers.
 */
export function metricsPage({ metrics, holder, admission, bodies, downloads, routes }: Server) {
  return (c: RequestContext): Response => {
    const { key } = c.get('caller')
    if (key && !key.metrics)
      throw new ApiError(403, 'this key may not read metrics; set metrics: true for it in config.keys', {
        code: 'forbidden',
      })
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

/** Lists the model's names; the config's names need no loaded engine. */
export function listModels(server: Server) {
  return async (c: RequestContext): Promise<Response> => {
    const all = await names(c, server)
    if (apiOf(c.req.raw) === 'anthropic') return Response.json(modelInfos(all, server.holder.loaded))
    return Response.json({ object: 'list', data: all.map(describe) })
  }
}

export function oneModel(server: Server) {
  return async (c: RequestContext): Promise<Response> => {
    const name = c.req.param('model') ?? ''
    if (!(await names(c, server)).includes(name)) throw unknownModel(name)
    if (apiOf(c.req.raw) === 'anthropic') return Response.json(modelInfoOf(name, server.holder.loaded))
    return Response.json(describe(name))
  }
}

async function names(c: RequestContext, server: Server): Promise<readonly string[]> {
  return server.config.models ?? modelNames(server.config, await engineOf(c, server))
}

function describe(id: string) {
  return { id, object: 'model', created: 0, owned_by: 'foretoken' }
}
