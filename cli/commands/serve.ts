/** `foretoken serve`: the model behind OpenAI's API. A signal lets running answers finish; a second one ends it at once. */
import { createHash } from 'node:crypto'
import { basename } from 'node:path'
import { createApp, parsedConfig, type ServerConfig, serveNode } from '../../edge/node.ts'
import { type ByteSource, defaultModel, ForetokenError, shippedPredictor } from '../../node/index.ts'
import type { Flags } from '../flags.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { open, readText } from '../session.ts'
import { note, print } from '../terminal.ts'

export async function serve({ flags, operands }: Invocation, signal: AbortSignal): Promise<number> {
  if (operands.length > 0) throw new UsageError('serve takes no operands; name a model with --model')
  const hostname = flags.host ?? '127.0.0.1'
  const config = await configOf(flags, hostname)
  // What is wrong with a config is found before a model is loaded.
  createApp({ engine: unloaded, config })
  const { engine } = await open(flags, signal, {
    kvTokens: Math.max(16_384, 2 * (flags.context ?? 0)),
    ...(await predictorFor(flags)),
  })
  const drain = new AbortController()
  const onRequest = (line: object) => print(JSON.stringify(line))
  const app = createApp({ engine, config, drain: drain.signal, onRequest })
  try {
    const serving = await serveNode({ fetch: app.fetch, port: flags.port ?? 8787, hostname })
    note(`${config.models![0]} at ${serving.url}/v1`)
    await aborted(signal)
    note('stopping: running answers are finished; once more stops at once')
    drain.abort()
    await serving.close()
    return 0
  } finally {
    await engine.close()
  }
}

async function configOf(flags: Flags, hostname: string): Promise<ServerConfig> {
  const given = flags.config === undefined ? {} : parsedConfig(await readText(flags.config), flags.config)
  const key = process.env.FORETOKEN_API_KEY
  const own = key ? [{ sha256: createHash('sha256').update(key).digest('hex'), metrics: true }] : []
  return {
    models: [displayName(flags.model ?? defaultModel)],
    ...given,
    listen: isLoopback(hostname) ? 'loopback' : 'public',
    keys: [...(given.keys ?? []), ...own],
    ...(flags.prefill !== undefined && { prefill: flags.prefill }),
  }
}

/** The last part of a path, without its ending; other names as they are. */
function displayName(model: string): string {
  const path = /^(\.{0,2}\/|~)|\.gguf$/.test(model) && !/^(hf|https?):/.test(model)
  return path ? basename(model).replace(/\.gguf$/, '') : model
}

function isLoopback(hostname: string): boolean {
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

async function unloaded(): Promise<never> {
  throw new ForetokenError('internal', 'this app only checks a config')
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
