/** State that all requests of an app share. */
import type { OpenAPIHono } from '@hono/zod-openapi'
import type { Context } from 'hono'
import { asForetokenError, callAside } from '../src/index.ts'
import type { Config } from './config.ts'
import type { HostContext } from './engine-holder.ts'
import { stopping } from './errors.ts'
import type { Admission } from './guard/admission.ts'
import type { Bodies } from './guard/bodies.ts'
import type { Downloads } from './guard/downloads.ts'
import type { Caller, Keys } from './guard/keys.ts'
import type { Rate } from './guard/rate.ts'
import type { Metrics } from './metrics/metrics.ts'
import type { Models } from './models.ts'
import { type LogLine, logLine, type RequestRecord } from './record.ts'
import type { Routes } from './route/routes.ts'

export interface Server {
  readonly config: Config
  readonly models: Models
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

/** Throws an ApiError of 503 once the server is stopping. */
export function checkRunning({ drain }: Server): void {
  if (drain?.aborted) throw stopping()
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

/** Returns the host of a request. */
export function hostOf(c: RequestContext): HostContext {
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
