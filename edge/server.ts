/** State that all requests of an app share. */
import type { OpenAPIHono } from '@hono/zod-openapi'
import type { Context } from 'hono'
import { type AnyEngine, asForetokenError, callAside } from '../src/index.ts'
import type { Config } from './config.ts'
import type { EngineHolder, HostContext } from './engine-holder.ts'
import { ApiError, stopping } from './errors.ts'
import type { Admission } from './guard/admission.ts'
import type { Bodies } from './guard/bodies.ts'
import type { Downloads } from './guard/downloads.ts'
import type { Caller, Keys } from './guard/keys.ts'
import type { Rate } from './guard/rate.ts'
import type { Metrics } from './metrics/metrics.ts'
import { type LogLine, logLine, type RequestRecord } from './record.ts'
import type { Routes } from './route/routes.ts'

export interface Server {
  readonly config: Config
  readonly holder: EngineHolder
  readonly routes: Routes
  readonly keys: Keys
  readonly rate: Rate
  readonly bodies: Bodies
  readonly admission: Admission
  readonly downloads: Downloads
  readonly metrics: Metrics
  /** Aborted when the server stops: no request begins, but running ones complete. */
  readonly drain: AbortSignal | undefined
  readonly onRequest: ((line: LogLine) => void) | undefined
}

/** Variables that middleware sets for the handlers of a request. */
export interface Variables {
  record: RequestRecord
  caller: Caller
}

export type AppEnv = { Variables: Variables }
export type App = OpenAPIHono<AppEnv>
export type RequestContext = Context<AppEnv>

export function engineOf(c: RequestContext, { holder }: Server): Promise<AnyEngine> {
  return holder.get(hostOf(c))
}

/** Throws an ApiError of 503 once the server is stopping. */
export function checkRunning({ drain }: Server): void {
  if (drain?.aborted) throw stopping()
}

/** Returns the names of the model; the first is its primary one. */
export function modelNames({ models }: Config, engine: AnyEngine): readonly string[] {
  return models ?? [engine.archive.name]
}

export function unknownModel(name: string): ApiError {
  const shown = name.length > 100 ? `${name.slice(0, 100)}…` : name
  return new ApiError(404, `there is no model ${JSON.stringify(shown)} here; GET /v1/models lists the available ones`, {
    code: 'model_not_found',
    param: 'model',
  })
}

/** Counts and logs a request whose last byte has been written. */
export function finish({ metrics, onRequest }: Server, record: RequestRecord): void {
  metrics.request(record.route, record.status)
  if (record.aborted) metrics.aborted(record.aborted)
  else if (record.code !== undefined) metrics.refused(record.code)
  log(onRequest, logLine(record))
}

/**
 * Passes a line to the logger. A failing logger is reported once per process and fails no request.
 */
export function log<L>(onRequest: ((line: L) => unknown) | undefined, line: L): void {
  if (onRequest)
    callAside(
      () => onRequest(line),
      (error) => {
        if (!logFailed) console.error(`foretoken: onRequest failed: ${asForetokenError(error).message}`)
        logFailed = true
      },
    )
}

let logFailed = false

function hostOf(c: RequestContext): HostContext {
  return {
    env: c.env,
    waitUntil(work) {
      // Only some hosts have an execution context.
      try {
        c.executionCtx.waitUntil(work)
      } catch {
        void work
      }
    },
  }
}
