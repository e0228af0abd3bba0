/** Serves a model over HTTP, from loading it to the last answer, for `serve` and `companion`. */
import { basename, resolve } from 'node:path'
import { type LogLine, type ServerConfig, serveNode } from '../edge/node.ts'
import { sha256Of } from '../node/hash.ts'
import {
  type AnyEngine,
  type ByteSource,
  defaultModel,
  type Engine,
  type PredictorSize,
  shippedPredictor,
} from '../node/index.ts'
import type { Flags } from './flags.ts'
import { LogWriter } from './log.ts'
import { open, openAny } from './session.ts'
import { note } from './terminal.ts'

export interface Served<E = Engine> {
  readonly hostname: string
  readonly port: number
  /** Creates the app after the model is loaded. */
  readonly appOf: (shared: Shared<E>) => { readonly fetch: (request: Request) => Response | Promise<Response> }
  /** Seconds that a connection may leave an answer unread. Default: that of `serveNode`. */
  readonly stallSeconds?: number | undefined
  /** Prints the address. */
  readonly announce: (url: string) => void
}

export interface Shared<E = Engine> {
  readonly engine: E
  readonly drain: AbortSignal
  readonly onRequest: (line: LogLine) => void
}

/**
 * Serves until `signal` fires, then finishes running answers. Resolves with the exit code. It has the
 * predictor of isolates, to exchange K and V with them.
 */
export async function serveModel(flags: Flags, signal: AbortSignal, served: Served): Promise<number> {
  const { engine } = await open(flags, signal, await servingOptions(flags, 'small'))
  return serveEngine(engine, signal, served)
}

/** Does the same as `serveModel` for a model that may be an ONNX export, with the predictor of the given size. */
export async function serveAny(
  flags: Flags,
  signal: AbortSignal,
  served: Served<AnyEngine>,
  size: PredictorSize,
): Promise<number> {
  const { engine } = await openAny(flags, signal, { use: 'any', ...(await servingOptions(flags, size)) })
  return serveEngine(engine, signal, served)
}

/** Returns the options of an engine that serves many requests. */
export async function servingOptions(flags: Flags, size: PredictorSize) {
  return { kvTokens: Math.max(16_384, 2 * (flags.context ?? 0)), size, ...(await predictorFor(flags, size)) }
}

/** Does the same as `serveModel` with a loaded engine, which it closes at the end. */
export async function serveEngine<E extends { close(): Promise<void> }>(
  engine: E,
  signal: AbortSignal,
  { hostname, port, appOf, stallSeconds, announce }: Served<E>,
): Promise<number> {
  const drain = new AbortController()
  try {
    const log = new LogWriter(process.stdout)
    const app = appOf({ engine, drain: drain.signal, onRequest: (line) => log.write(line) })
    const serving = await serveNode({ fetch: app.fetch, port, hostname, ...(stallSeconds && { stallSeconds }) })
    announce(serving.url)
    await aborted(signal)
    note('stopping after the running answers; a second signal stops immediately')
    drain.abort()
    await serving.close()
    return 0
  } finally {
    await engine.close()
  }
}

/** Returns the key of the environment in the form of a server's config. */
export function environmentKeys(): NonNullable<ServerConfig['keys']> {
  const key = process.env.FORETOKEN_API_KEY
  return key ? [{ sha256: sha256Of(key), metrics: true }] : []
}

/**
 * Returns the file name of a path without its extension, the folder's name for an .onnx file, and
 * other names unchanged.
 */
export function displayName(model: string): string {
  if (model.endsWith('.onnx')) return basename(resolve(model, '..').replace(/\/onnx$/, ''))
  const path = /^\.{1,2}$|[/\\]|\.gguf$/.test(model) && !/^(hf|https?):/.test(model)
  return path ? basename(resolve(model)).replace(/\.gguf$/, '') : model
}

export function isLoopback(hostname: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|::1)$/.test(hostname)
}

/** Returns the included predictor, so that requests may ask for predicted prefill. */
async function predictorFor(
  { model = defaultModel, predictor, prefill = 'exact' }: Flags,
  size: PredictorSize,
): Promise<{ predictor?: ByteSource }> {
  if (predictor !== undefined || prefill !== 'exact') return {}
  const shipped = await shippedPredictor(model, size)
  return shipped ? { predictor: shipped } : {}
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
