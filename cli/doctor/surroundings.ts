/** Checks the model's surroundings: folders, disk, network, optional packages, a config, a port. */
import { reserveOf } from '../../node/disk.ts'
import { home } from '../../node/home.ts'
import { hubEndpoint } from '../../node/hub.ts'
import { aliases, asForetokenError, defaultModel } from '../../node/index.ts'
import { proxyFor } from '../../node/proxy.ts'
import { isOffline } from '../../node/pull-model.ts'
import { hubCache } from '../../node/store.ts'
import type { Flags } from '../flags.ts'
import { size } from '../terminal.ts'
import type { Check, Finding } from './check.ts'
import type { Host } from './host.ts'

/** Time limit for the hub to answer, in milliseconds. */
const networkMs = 4000

export function surroundingsChecks(host: Host, flags: Pick<Flags, 'offline' | 'config' | 'port'>): Check[] {
  const { config, port = 8787 } = flags
  const offline = flags.offline || isOffline(host.env)
  let answer: Promise<number> | undefined
  // Two checks use this answer.
  const hub = async () => (answer ??= host.head(modelUrl(host), AbortSignal.timeout(networkMs)))
  return [
    { name: 'cache', run: (signal) => folderFinding(host, home(host.env), 'FORETOKEN_HOME', signal) },
    { name: 'hub cache', run: (signal) => folderFinding(host, hubCache(host.env), 'HF_HUB_CACHE', signal) },
    { name: 'disk', run: () => diskFinding(host) },
    { name: 'proxy', run: () => proxyFinding(host) },
    { name: 'network', limitMs: networkMs + 1000, run: () => networkFinding(host, offline, hub) },
    {
      name: 'model',
      limitMs: networkMs + 4000,
      failed: 'missing',
      run: (signal) => modelFinding(host, offline, hub, signal),
    },
    { name: 'onnx', run: () => peerFinding(host, ['onnxruntime-node', 'onnxruntime-web'], 'ONNX models') },
    { name: 'llama.cpp', run: () => peerFinding(host, ['node-llama-cpp'], 'companion --backend llama') },
    { name: 'config', run: () => configFinding(host, config) },
    { name: 'port', run: (signal) => portFinding(host, port, signal) },
  ]
}

async function folderFinding(host: Host, path: string, variable: string, signal: AbortSignal): Promise<Finding> {
  const { exists, writable, bytes, partial } = await host.folder(path, signal)
  const found = exists ? `${path}: ${size(bytes)}` : `${path}: does not exist yet`
  if (!writable)
    return {
      verdict: 'warning',
      found: `${found}, not writable`,
      next: `set ${variable} to a writable folder to pull models`,
    }
  if (partial.files === 0) return { verdict: 'ok', found }
  const parts = `${partial.files} partial ${partial.files === 1 ? 'file' : 'files'} of ${size(partial.bytes)}`
  return { verdict: 'note', found: `${found}, with ${parts}`, next: 'pulling the same model again resumes them' }
}

/** Checks the disk that the default model would be written to. */
async function diskFinding(host: Host): Promise<Finding> {
  const { free, total } = await host.disk(hubCache(host.env))
  const { bytes } = aliases[defaultModel]!
  const found = `${size(free)} of ${size(total)} free`
  if (free >= bytes + reserveOf(total)) return { verdict: 'ok', found }
  if (await isPulled(host)) return { verdict: 'warning', found, next: 'there is no room for another model' }
  return {
    verdict: 'missing',
    found,
    next: `${defaultModel} takes ${size(bytes)}: free some space, or set FORETOKEN_HOME and HF_HOME to a larger disk`,
  }
}

const proxyNames = ['https_proxy', 'http_proxy', 'all_proxy', 'no_proxy'] as const

function proxyFinding({ env }: Host): Finding {
  const set = proxyNames.flatMap((name) => [name, name.toUpperCase()]).filter((name) => env[name]?.trim())
  if (set.length === 0) return { verdict: 'ok', found: 'none set: connections are direct' }
  const proxy = proxyFor(new URL(hubEndpoint(env)), env)
  // Does not show the proxy's user and password.
  const way =
    proxy === undefined ? 'the hub is reached directly' : `the hub is reached through ${proxy.protocol}//${proxy.host}`
  return { verdict: 'ok', found: `${set.join(', ')} set: ${way}` }
}

/** Checks the hub; `hub` returns the status of its answer for the default model. */
async function networkFinding(host: Host, offline: boolean, hub: () => Promise<number>): Promise<Finding> {
  if (offline) return { verdict: 'note', found: 'not checked: --offline, FORETOKEN_OFFLINE or HF_HUB_OFFLINE is set' }
  const { host: name } = new URL(hubEndpoint(host.env))
  const next =
    'set HTTPS_PROXY to a proxy or HF_ENDPOINT to a mirror, or copy a model to this machine and use it with -m'
  try {
    const status = await hub()
    if (status < 400) return { verdict: 'ok', found: `${name} answers, and has ${defaultModel}` }
    const token = 'set HF_TOKEN to a token with read access'
    if (status === 401 || status === 403) return { verdict: 'warning', found: `${name} answers ${status}`, next: token }
    return { verdict: 'warning', found: `${name} answers ${status} for ${defaultModel}`, next }
  } catch (error) {
    const late = (error as Error | undefined)?.name === 'TimeoutError'
    const why = late ? `no answer within ${networkMs / 1000} s` : asForetokenError(error).message
    return { verdict: 'warning', found: `${name} cannot be reached: ${why}`, next }
  }
}

/** Checks whether the default model is on this machine or can be downloaded. */
async function modelFinding(
  host: Host,
  offline: boolean,
  hub: () => Promise<number>,
  signal: AbortSignal,
): Promise<Finding> {
  const { bytes, pip } = aliases[defaultModel]!
  if (await isPulled(host)) return { verdict: 'ok', found: `${defaultModel} is on this machine` }
  const found = `${defaultModel} is not on this machine yet`
  const elsewhere = 'use a model file with -m, or connect to a network once'
  if (offline) return { verdict: 'missing', found, next: elsewhere }
  const fetched = `the first use downloads ${size(bytes)}; to do it now: foretoken pull ${defaultModel}`
  const status = await hub().catch(() => undefined)
  if (status !== undefined && status < 400) return { verdict: 'ok', found, next: fetched }
  const version = pip && (await host.pip(signal))
  if (version)
    return {
      verdict: 'warning',
      found: `${found}, and the hub does not serve it`,
      next: `pip ${version} is tried as well`,
    }
  return { verdict: 'missing', found: `${found}, and cannot be downloaded`, next: elsewhere }
}

async function isPulled(host: Host): Promise<boolean> {
  return (await host.models()).some(({ name }) => name === defaultModel)
}

function modelUrl({ env }: Host): string {
  const { repo, file, revision } = aliases[defaultModel]!.hub
  return `${hubEndpoint(env)}/${repo}/resolve/${revision}/${file}`
}

async function peerFinding(host: Host, names: readonly string[], use: string): Promise<Finding> {
  const versions = await Promise.all(names.map((name) => host.packageVersion(name)))
  const installed = names.flatMap((name, index) =>
    versions[index] === undefined ? [] : [`${name} ${versions[index]}`],
  )
  if (installed.length > 0) return { verdict: 'ok', found: `${installed.join(', ')}, for ${use}` }
  return {
    verdict: 'note',
    found: `${names.join(', ')}: not installed`,
    next: `optional, for ${use}: npm install ${names[0]}`,
  }
}

async function configFinding(host: Host, path: string | undefined): Promise<Finding> {
  if (path === undefined)
    return {
      verdict: 'note',
      found: 'none given; serve and companion need none',
      next: 'use --config FILE to check one',
    }
  try {
    return { verdict: 'ok', found: `${path} is a config for ${await host.config(path)}` }
  } catch (error) {
    return {
      verdict: 'missing',
      found: asForetokenError(error).message,
      next: 'serve and companion refuse to start with it',
    }
  }
}

async function portFinding(host: Host, port: number, signal: AbortSignal): Promise<Finding> {
  const problem = await host.portProblem(port, signal)
  if (problem === undefined) return { verdict: 'ok', found: `127.0.0.1:${port} is free for serve` }
  const found = problem === 'EADDRINUSE' ? `127.0.0.1:${port} is in use` : `127.0.0.1:${port}: ${problem}`
  return { verdict: 'warning', found, next: 'use serve --port 0, or another port' }
}
