/** `foretoken serve`: the model behind OpenAI's API. A signal lets running answers finish; a second one ends it at once. */
import { createApp, type Page, parsedConfig, type ServerConfig } from '../../edge/node.ts'
import {
  defaultModel,
  ForetokenError,
  isOnnx,
  machineKey,
  machineKeyPath,
  pageFile,
  peerFetch,
  predictorPath,
  tabModel,
} from '../../node/index.ts'
import type { Flags } from '../flags.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { displayName, environmentKeys, isLoopback, serveAny } from '../serving.ts'
import { note } from '../terminal.ts'
import { readText } from '../text.ts'

export async function serve({ flags, operands }: Invocation, signal: AbortSignal): Promise<number> {
  if (operands.length > 0) throw new UsageError('serve takes no operands; name a model with --model')
  const hostname = flags.host ?? '127.0.0.1'
  const config = await configOf(flags, hostname)
  // What is wrong with a config is found before a model is loaded.
  createApp({ engine: unloaded, config })
  return serveAny(flags, signal, {
    hostname,
    port: flags.port ?? 8787,
    stallSeconds: config.limits?.stallSeconds,
    appOf: (shared) =>
      createApp({ ...shared, config, fetch: peerFetch, ...(isLoopback(hostname) && { page: pageOf(flags) }) }),
    announce: (url) => {
      note(`${config.models![0]} at ${url}/v1`)
      if (isLoopback(hostname)) note(`chat in your browser: ${url}/`)
    },
  })
}

/** The page for this machine's own browsers. Its model is hashed when the first asks for it. */
function pageOf({ model = defaultModel, predictor }: Flags): Page {
  let asked: ReturnType<Page['model']> | undefined
  const offered = async () => {
    // An ONNX export runs beside the page, not in it.
    if (await isOnnx(model)) return undefined
    return tabModel(displayName(model), model, predictor ?? predictorPath(model))
  }
  return {
    file: pageFile,
    model: () => (asked ??= offered()),
  }
}

async function configOf(flags: Flags, hostname: string): Promise<ServerConfig> {
  const given = flags.config === undefined ? {} : parsedConfig(await readText(flags.config), flags.config)
  return {
    models: [displayName(flags.model ?? defaultModel)],
    ...given,
    ...(flags.companion && { companions: [...(given.companions ?? []), ...(await companionsOf(flags.companion))] }),
    listen: isLoopback(hostname) ? 'loopback' : 'public',
    keys: [...(given.keys ?? []), ...environmentKeys()],
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
