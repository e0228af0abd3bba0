/** Routes that tell of the server without running it: health, readiness, metrics, models. */
import { modelInfoOf, modelInfos } from './anthropic/models.ts'
import { apiOf } from './apis.ts'
import { ApiError } from './errors.ts'
import type { ListedModel } from './models.ts'
import { hostOf, type RequestContext, type Server } from './server.ts'

/** Tells that the process is up. */
export function health(): Response {
  return Response.json({ status: 'ok' })
}

/** Tells whether a request would be answered without loading the only model first. Of several each is loaded when it is used. */
export function ready({ models, drain }: Server) {
  return (): Response => {
    const status = drain?.aborted ? 'stopping' : models.ready ? 'ready' : 'not loaded'
    const ok = status === 'ready'
    return Response.json({ status }, { status: ok ? 200 : 503, headers: ok ? {} : { 'retry-after': '2' } })
  }
}

/**
 * Returns the metrics. If there are keys, only those with `metrics` may read them, since they cover
 * all callers.
 */
export function metricsPage({ metrics, models, admission, bodies, downloads, routes }: Server) {
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
    return new Response(metrics.text(models, held, routes.statesOf(models.loaded)), {
      headers: { 'content-type': type },
    })
  }
}

/** Lists the names of all models with their states; the config's names need no loaded engine. */
export function listModels({ models }: Server) {
  return async (c: RequestContext): Promise<Response> => {
    const listed = await models.list(hostOf(c))
    if (apiOf(c.req.raw) === 'anthropic') return Response.json(modelInfos(listed))
    return Response.json({ object: 'list', data: listed.map(describe) })
  }
}

/** Describes the model of a name. */
export function oneModel({ models }: Server) {
  return async (c: RequestContext): Promise<Response> => {
    const found = models.find(c.req.param('model') ?? '', await models.list(hostOf(c)))
    return Response.json(apiOf(c.req.raw) === 'anthropic' ? modelInfoOf(found) : describe(found))
  }
}

function describe({ id, model, state, failure, engine, uses }: ListedModel) {
  const memory = engine && { context: engine.context, memory_bytes: engine.backend.memoryBytes() }
  const named = id === model ? {} : { model }
  const error = failure && { code: failure.code, message: failure.message }
  const foretoken = {
    ...named,
    state,
    ...(error && { error }),
    ...(uses !== undefined && { requests: uses }),
    ...memory,
  }
  return { id, object: 'model', created: 0, owned_by: 'foretoken', foretoken }
}
