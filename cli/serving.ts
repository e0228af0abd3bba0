/** What `serve` and `companion` have in common: a model behind HTTP, from loading it to the last answer. */

import { basename, resolve } from 'node:path'
import { type LogLine, type ServerConfig, serveNode } from '../edge/node.ts'
import { sha256Of } from '../node/hash.ts'
import { type AnyEngine, type ByteSource, defaultModel, type Engine, shippedPredictor } from '../node/index.ts'
import type { Flags } from './flags.ts'
import { LogWriter } from './log.ts'
import { open, openAny } from './session.ts'
import { note } from './terminal.ts'

export interface Served<E = Engine> {
  readonly hostname: string
  readonly port: number
  /** The app, once the model is loaded. */
  readonly appOf: (shared: Shared<E>) => { readonly fetch: (request: Request) => Response | Promise<Response> }
  /** How long a connection may leave an answer unread, in seconds. Default: as `serveNode`. */
  readonly stallSeconds?: number | undefined
  /** Says where it listens. */
  readonly announce: (url: string) => void
}

export interface Shared<E = Engine> {
  readonly engine: E
  readonly drain: AbortSignal
  readonly onRequest: (line: LogLine) => void
}

/** Answers until the signal fires, then finishes what runs. Resolves with the exit code. */
export async function serveModel(flags: Flags, signal: AbortSignal, served: Served): Promise<number> {
  const { engine } = await open(flags, signal, await servingOptions(flags))
  return serveEngine(engine, signal, served)
}

/** The same for a model that may be an ONNX export. */
export async function serveAny(flags: Flags, signal: AbortSignal, served: Served<AnyEngine>): Promise<number> {
  const { engine } = await openAny(flags, signal, await servingOptions(flags))
  return serveEngine(engine, signal, served)
}

async function servingOptions(flags: Flags) {
  return { kvTokens: Math.max(16_384, 2 * (flags.context ?? 0)), ...(await predictorFor(flags)) }
}

/** The same over an engine that is there; it is closed at the end. */
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
    note('stopping: running answers are finished; once more stops at once')
    drain.abort()
    await serving.close()
    return 0
  } finally {
    await engine.close()
  }
}

/** The key of the environment, as a server's config has keys. */
export function environmentKeys(): NonNullable<ServerConfig['keys']> {
  const key = process.env.FORETOKEN_API_KEY
  return key ? [{ sha256: sha256Of(key), metrics: true }] : []
}

/** The last part of a path, without its ending; other names as they are. An .onnx file is named by its folder. */
export function displayName(model: string): string {
  if (model.endsWith('.onnx')) return basename(resolve(model, '..').replace(/\/onnx$/, ''))
  const path = /^(\.{0,2}\/|~)|\.gguf$/.test(model) && !/^(hf|https?):/.test(model)
  return path ? basename(model).replace(/\.gguf$/, '') : model
}

export function isLoopback(hostname: string): boolean {
  return /^(localhost|127(\.\d{1,3}){3}|::1)$/.test(hostname)
}

/** Requests may ask for predicted prefill whatever the default is, if a predictor is there. */
async function predictorFor({
  model = defaultModel,
  predictor,
  prefill = 'exact',
}: Flags): Promise<{ predictor?: ByteSource }> {
  if (predictor !== undefined || prefill !== 'exact') return {}
  const shipped = await shippedPredictor(model)
  return shipped ? { predictor: shipped } : {}
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
