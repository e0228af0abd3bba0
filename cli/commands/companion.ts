/** `foretoken companion`: an engine that reads prompts for edges. A signal lets running answers finish; a second one ends it at once. */
import { createCompanion } from '../../companion/app.ts'
import { type CompanionConfig, companionConfigOf } from '../../companion/config.ts'
import { openLlama } from '../../companion/llama/reader.ts'
import type { PromptReader } from '../../companion/reader.ts'
import { parsedConfig, type ServerConfig } from '../../edge/node.ts'
import { defaultModel, machineKeyPath, makeMachineKey } from '../../node/index.ts'
import type { Flags } from '../flags.ts'
import { type Invocation, UsageError } from '../parse.ts'
import { displayName, environmentKeys, isLoopback, type Shared, serveEngine, serveModel } from '../serving.ts'
import { note } from '../terminal.ts'
import { readText } from '../text.ts'

export async function companion({ flags, operands }: Invocation, signal: AbortSignal): Promise<number> {
  if (operands.length > 0) throw new UsageError('companion takes no operands; name a model with --model')
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
      if (isLoopback(hostname)) note(`edge on this machine: foretoken serve --companion ${url}`)
    },
  }
  if (flags.backend !== 'llama') return serveModel(flags, signal, served)
  const { threads, context = 4096 } = flags
  const named = flags.model ?? defaultModel
  const ignoreConfig = flags['ignore-config']
  return serveEngine(await openLlama({ model: named, context, threads, ignoreConfig }), signal, served)
}

/** `HOST:PORT`, `[::1]:PORT`, `:PORT`, `PORT` or `HOST`. Throws `UsageError`. */
function addressOf(text: string): { readonly hostname: string; readonly port: number } {
  const [, six, name, number] = /^(?:\[([\da-f:]+)\]|([^\s:[\]]*?))(?::?(\d{1,5}))?$/i.exec(text) ?? []
  const port = number === undefined ? 8788 : Number(number)
  const hostname = six ?? name
  if (hostname === undefined || port > 65_535)
    throw new UsageError(`--listen is HOST:PORT, such as 127.0.0.1:8788; not "${text}"`)
  return { hostname: hostname || '127.0.0.1', port }
}

/** The edges of the config and of the environment; where there are none, this machine's own. */
async function configOf(flags: Flags): Promise<CompanionConfig> {
  const given = flags.config === undefined ? {} : parsedConfig(await readText(flags.config), flags.config)
  const config = companionConfigOf(given)
  const key = process.env.FORETOKEN_COMPANION_KEY
  if (key) return companionConfigOf(given, key)
  if (config.edges.length > 0) return config
  const made = await makeMachineKey()
  note(`key: ${machineKeyPath()}`)
  return companionConfigOf(given, made)
}

/** It is an OpenAI endpoint, too, where only this machine reaches it or there are keys for it. */
function openaiOf({ openai }: CompanionConfig, model: string, hostname: string): ServerConfig | undefined {
  const own = environmentKeys()
  const local = isLoopback(hostname)
  if (!local && !openai && own.length === 0) return undefined
  return {
    models: [model],
    ...openai,
    listen: local ? 'loopback' : 'public',
    keys: [...(openai?.keys ?? []), ...own],
  }
}
