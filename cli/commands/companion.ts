/**
 * `foretoken companion`: computes prompts for edges. The first signal lets running answers finish;
 * a second one ends the process immediately.
 */
import { createCompanion } from '../../companion/app.ts'
import { type CompanionConfig, companionConfigOf } from '../../companion/config.ts'
import { openLlama } from '../../companion/llama/reader.ts'
import type { PromptReader } from '../../companion/reader.ts'
import { parsedConfig, type ServerConfig } from '../../edge/node.ts'
import { defaultModel, machineKeyPath, makeMachineKey } from '../../node/index.ts'
import { assentTo } from '../assent.ts'
import type { Flags } from '../flags.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { displayName, environmentKeys, isLoopback, type Shared, serveEngine, serveModel } from '../serving.ts'
import { note } from '../terminal.ts'
import { readText } from '../text.ts'

export async function companion({ flags, operands }: Invocation, signal: AbortSignal): Promise<number> {
  if (operands.length > 0) throw new UsageError('companion takes no operands; use --model to choose a model')
  const { hostname, port } = addressOf(flags.listen ?? '127.0.0.1:8788')
  const config = await configOf(flags)
  const { edges, limits } = config
  const model = displayName(flags.model ?? defaultModel)
  const openai = openaiOf(config, model, hostname)
  const served = {
    hostname,
    port,
    appOf: (shared: Shared<PromptReader & { close(): Promise<void> }>) =>
      createCompanion({ ...shared, edges, limits, config: openai }),
    stallSeconds: limits.stallSeconds,
    announce(url: string) {
      note(`${model} for ${edges.map(({ id }) => id).join(', ')} at ${url}`)
      if (isLoopback(hostname)) note(`to use it from this machine: foretoken serve --companion ${url}`)
    },
  }
  if (flags.backend !== 'llama') return serveModel(flags, signal, served)
  const { threads, context = 4096 } = flags
  const named = flags.model ?? defaultModel
  const ignoreConfig = flags['ignore-config']
  await assentTo(named, flags, signal)
  return serveEngine(await openLlama({ model: named, context, threads, ignoreConfig }), signal, served)
}

/** Parses `HOST:PORT`, `[::1]:PORT`, `:PORT`, `PORT` or `HOST`. Throws `UsageError`. */
function addressOf(text: string): { readonly hostname: string; readonly port: number } {
  const [, six, name, number] = /^(?:\[([\da-f:]+)\]|([^\s:[\]]*?))(?::?(\d{1,5}))?$/i.exec(text) ?? []
  const port = number === undefined ? 8788 : Number(number)
  const hostname = six ?? name
  if (hostname === undefined || port > 65_535)
    throw new UsageError(`--listen takes HOST:PORT, such as 127.0.0.1:8788, not "${text}"`)
  return { hostname: hostname || '127.0.0.1', port }
}

/** Returns the config with the edges of the file and the environment, or else of this machine. */
async function configOf(flags: Flags): Promise<CompanionConfig> {
  const json = flags.config === undefined ? {} : parsedConfig(await readText(flags.config), flags.config)
  const config = companionConfigOf(json)
  const key = process.env.FORETOKEN_COMPANION_KEY
  if (key) return companionConfigOf(json, key)
  if (config.edges.length > 0) return config
  const machineKey = await makeMachineKey()
  note(`key: ${machineKeyPath()}`)
  return companionConfigOf(json, machineKey)
}

/**
 * Returns the config of the OpenAI endpoint, or undefined if other machines can reach the companion
 * and there are no API keys.
 */
function openaiOf({ openai }: CompanionConfig, model: string, hostname: string): ServerConfig | undefined {
  const keys = environmentKeys()
  const local = isLoopback(hostname)
  if (!local && !openai && keys.length === 0) return undefined
  return {
    models: [model],
    ...openai,
    listen: local ? 'loopback' : 'public',
    keys: [...(openai?.keys ?? []), ...keys],
  }
}
