/** `foretoken serve`: the model behind OpenAI's API. A signal lets running answers finish; a second one ends it at once. */
import { createHash } from 'node:crypto'
import { createApp, parsedConfig, type ServerConfig, serveNode } from '../../edge/node.ts'
import { defaultModel, ForetokenError, machineKey, machineKeyPath } from '../../node/index.ts'
import type { Flags } from '../flags.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { aborted, displayName, isLoopback, predictorFor } from '../serving.ts'
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
    ...(flags.companion && { companions: [...(given.companions ?? []), ...(await companionsOf(flags.companion))] }),
    listen: isLoopback(hostname) ? 'loopback' : 'public',
    keys: [...(given.keys ?? []), ...own],
    ...(flags.prefill !== undefined && { prefill: flags.prefill }),
  }
}

/** Companions that are named on the command line share the key of the environment, or of this machine. */
async function companionsOf(urls: readonly string[]): Promise<NonNullable<ServerConfig['companions']>> {
  const key = process.env.FORETOKEN_COMPANION_KEY || (await machineKey())
  if (!key)
    throw new ForetokenError(
      'not_found',
      `--companion needs the key that \`foretoken companion\` shares: set FORETOKEN_COMPANION_KEY, or run it once on this machine, which makes ${machineKeyPath()}`,
    )
  return urls.map((url) => ({ url, key }))
}

async function unloaded(): Promise<never> {
  throw new ForetokenError('internal', 'this app only checks a config')
}
