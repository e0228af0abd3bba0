/**
 * `foretoken serve`: serves the model over three APIs. The first signal lets running answers
 * finish; a second one ends the process immediately.
 */
import { createApp, type Page, type PageModel, parsedConfig, type ServerConfig } from '../../edge/node.ts'
import {
  defaultModel,
  ForetokenError,
  ModelPool,
  machineKey,
  machineKeyPath,
  pageFile,
  peerFetch,
  predictorPath,
  tabModel,
} from '../../node/index.ts'
import type { Flags } from '../flags.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { notChunks, openSaved } from '../saved.ts'
import { environmentKeys, isLoopback, serveAny, serveEngine } from '../serving.ts'
import { ignoring } from '../session.ts'
import { type Named, namesOf, openPool } from '../several.ts'
import { note } from '../terminal.ts'
import { readText } from '../text.ts'

export async function serve({ flags, operands, all }: Invocation, signal: AbortSignal): Promise<number> {
  if (operands.length > 0) throw new UsageError('serve takes no operands; use --model to choose a model')
  const hostname = flags.host ?? '127.0.0.1'
  const models = namesOf(all.model ?? [flags.model ?? defaultModel])
  const names = models.map(({ name }) => name)
  // Models that are loaded when they are used: several, or one that is not to stay.
  const pooled = models.length > 1 || flags.keep !== undefined || flags.idle !== undefined
  const config = await configOf(flags, hostname, pooled ? undefined : names)
  // Checks the config before loading a model.
  createApp({ ...(pooled ? { models: noPool(names) } : { engine: unloaded }), config })
  const page = isLoopback(hostname) ? { page: pageOf(models, flags) } : {}
  const served = {
    hostname,
    port: flags.port ?? 8787,
    stallSeconds: config.limits?.stallSeconds,
    announce: (url: string) => {
      note(`${config.models?.[0] ?? names.join(', ')} at ${url}/v1`)
      if (isLoopback(hostname)) note(`chat in your browser: ${url}/`)
    },
  }
  const common = { config, fetch: peerFetch, ...page }
  await checkSaved(flags)
  const size = config.companions?.length ? 'small' : 'large'
  if (!pooled)
    return serveAny(flags, signal, { ...served, appOf: (shared) => createApp({ ...shared, ...common }) }, size)
  return serveEngine(await openPool(models, flags, signal, size), signal, {
    ...served,
    appOf: ({ engine: models, ...shared }) => createApp({ models, ...shared, ...common }),
  })
}

/**
 * Returns the page for browsers on this machine. Its models are hashed at the first request for
 * them.
 */
function pageOf(models: readonly Named[], flags: Flags): Page {
  let cached: Promise<readonly PageModel[]> | undefined
  const load = async () => {
    const offered: PageModel[] = []
    for (const { model, name } of models) {
      const options = { predictor: flags.predictor ?? predictorPath(model, 'large'), ...ignoring(flags) }
      const found = await tabModel(name, model, options)
      if (found) offered.push(found)
    }
    return offered
  }
  return {
    file: pageFile,
    models: () => {
      cached ??= load()
      // A file that cannot be read now may be readable later.
      cached.catch(() => (cached = undefined))
      return cached
    },
  }
}

/** Throws `UsageError` for a prefix: its pages belong to one tenant, and chunks of files to all. */
async function checkSaved({ prefix = [] }: Flags): Promise<void> {
  for (const path of prefix) {
    const { kind, close } = await openSaved(path)
    await close()
    if (kind !== 'chunks') throw new UsageError(notChunks('serve', path, kind))
  }
}

/** `names` are those of the only model; undefined if there are several. */
async function configOf(flags: Flags, hostname: string, names: readonly string[] | undefined): Promise<ServerConfig> {
  const json = flags.config === undefined ? {} : parsedConfig(await readText(flags.config), flags.config)
  return {
    ...(names && { models: [...names] }),
    ...json,
    ...(flags.companion && { companions: [...(json.companions ?? []), ...(await companionsOf(flags.companion))] }),
    listen: isLoopback(hostname) ? 'loopback' : 'public',
    keys: [...(json.keys ?? []), ...environmentKeys()],
    ...(flags.prefill !== undefined && { prefill: flags.prefill }),
  }
}

/**
 * Returns the companions of the command line, with the key of the environment or of this machine.
 */
async function companionsOf(urls: readonly string[]): Promise<NonNullable<ServerConfig['companions']>> {
  const key = process.env.FORETOKEN_COMPANION_KEY || (await machineKey())
  if (!key)
    throw new ForetokenError(
      'not_found',
      `--companion needs the companion's key: set FORETOKEN_COMPANION_KEY, or run \`foretoken companion\` once on this machine, which creates ${machineKeyPath()}`,
    )
  return urls.map((url) => ({ url, key }))
}

async function unloaded(): Promise<never> {
  throw new ForetokenError('internal', 'this app only checks a config')
}

function noPool(names: readonly string[]) {
  return new ModelPool(names.map((name) => ({ name, load: unloaded })))
}
