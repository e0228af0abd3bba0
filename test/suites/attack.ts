/**
 * Runs `npm run attack`: a server process, eight attackers in another, and here a victim that
 * streams a short prompt, first alone and then beside each attack. Prints a line of JSON for each
 * attack: the victim's time to first token in milliseconds, its failures, and the server's memory.
 * Exits with 1 if a victim's p95 is more than 3 times that of alone and over 400 ms, if one of its
 * requests failed, or if memory grew by more than 250 MB.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { builtCommand } from '../helpers/built-command.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'
import { type AttackName, attack, attacks, words } from './attacks.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    model: { type: 'string' },
    /** Duration of each attack, and of the victim alone before it. */
    seconds: { type: 'string', default: '10' },
    /** Internal: this process runs the attackers. */
    as: { type: 'string' },
    target: { type: 'string' },
  },
})
if (values.as) await attack(values.as as AttackName, JSON.parse(values.target!))

const seconds = Number(values.seconds)
const folder = mkdtempSync(join(tmpdir(), 'foretoken-attack-'))
const model = values.model ?? join(folder, 'tiny.gguf')
if (!values.model) writeFileSync(model, tinyGguf({ context: 4096 }))
const keys = { attacker: 'key-of-the-attacker', victim: 'key-of-the-victim' }
const names = positionals.length > 0 ? positionals : Object.keys(attacks)
/** Attacks for which the server has a key for the attackers, and another for the victim. */
const keyedAttacks: ReadonlySet<AttackName> = new Set(['tenants', 'long', 'templates'])
let sound = true
try {
  for (const name of names) sound = (await judged(name as AttackName)) && sound
} finally {
  rmSync(folder, { recursive: true, force: true })
}
process.exit(sound ? 0 : 1)

async function judged(name: AttackName): Promise<boolean> {
  const keyed = keyedAttacks.has(name)
  const server = await serve(keyed)
  try {
    const served = (await (await asked(server.url, '/v1/models', keyed)).json()).data[0].id as string
    // Code is compiled and the prefix cached before the measurement.
    await victim(server.url, served, keyed, 2)
    // The memory that a few long prompts need does not count as growth.
    if (name === 'long') await longPrompts(server.url, served)
    const alone = await victim(server.url, served, keyed, seconds)
    const before = rss(server.process)
    const file = values.model ? values.model.split('/').at(-1)! : 'tiny.gguf'
    const target = { url: server.url, model: name === 'downloads' ? file : served, key: keyed ? keys.attacker : '' }
    const attackers = spawn(
      process.execPath,
      [fileURLToPath(import.meta.url), '--as', name, '--target', JSON.stringify(target)],
      {
        stdio: ['ignore', 'ignore', 'inherit'],
      },
    )
    let peak = before
    const watch = setInterval(() => {
      peak = Math.max(peak, rss(server.process))
    }, 100)
    await new Promise((resolve) => setTimeout(resolve, 1000))
    const beside = await victim(server.url, served, keyed, seconds)
    clearInterval(watch)
    await ended(attackers, 'SIGKILL')
    const growth = Math.round((peak - before) / 1e6)
    const bar = Math.max(3 * alone.p95, 400)
    const held = beside.p95 <= bar && beside.failed === 0 && growth <= 250
    console.log(
      JSON.stringify({ attack: name, alone, beside, rss_mb: Math.round(before / 1e6), growth_mb: growth, held }),
    )
    return held
  } finally {
    await ended(server.process, 'SIGTERM')
  }
}

async function serve(keyed: boolean): Promise<{ url: string; process: ChildProcess }> {
  const config = join(folder, 'config.json')
  const hashes = Object.values(keys).map((key) => ({ sha256: createHash('sha256').update(key).digest('hex') }))
  writeFileSync(config, JSON.stringify(keyed ? { keys: hashes } : {}))
  const process_ = spawn(process.execPath, [builtCommand, 'serve', '-m', model, '--port', '0', '--config', config], {
    env: { ...process.env, FORETOKEN_API_KEY: '' },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const url = await new Promise<string>((resolve, reject) => {
    const lines = createInterface({ input: process_.stderr! })
    lines.on('line', (line) => {
      const found = /http:\/\/\S+(?=\/v1)/.exec(line)
      if (found) resolve(found[0])
    })
    process_.once('exit', (code) => reject(new Error(`the server ended with ${code}`)))
  })
  return { url, process: process_ }
}

function asked(url: string, path: string, keyed: boolean, body?: object): Promise<Response> {
  return fetch(`${url}${path}`, {
    headers: { 'content-type': 'application/json', ...(keyed && { authorization: `Bearer ${keys.victim}` }) },
    ...(body && { method: 'POST', body: JSON.stringify(body) }),
  })
}

/** Sends a few prompts at once, each half a usual context long. */
async function longPrompts(url: string, model: string): Promise<void> {
  const prompts = Array.from({ length: 8 }, (_, seed) => words(400, 1000 + seed).slice(0, 1500))
  await Promise.all(
    prompts.map(async (prompt) => (await asked(url, '/v1/completions', true, { model, prompt, max_tokens: 8 })).text()),
  )
}

/**
 * Streams short prompts one after another for this long; resolves with times to first token in
 * milliseconds.
 */
async function victim(url: string, served: string, keyed: boolean, seconds: number) {
  const until = performance.now() + seconds * 1000
  const times: number[] = []
  let failed = 0
  const body = {
    model: served,
    messages: [{ role: 'user', content: 'What is this?' }],
    max_tokens: 4,
    stream: true,
    temperature: 0,
  }
  while (performance.now() < until) {
    const begun = performance.now()
    try {
      const response = await asked(url, '/v1/chat/completions', keyed, body)
      if (!response.ok) throw new Error(`${response.status} ${await response.text()}`)
      let first: number | undefined
      for await (const _ of response.body!) first ??= performance.now() - begun
      times.push(first!)
    } catch (error) {
      failed++
      console.error(String(error))
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  times.sort((a, b) => a - b)
  const at = (share: number) => Math.round((times[Math.floor(share * (times.length - 1))] ?? Number.NaN) * 10) / 10
  return { requests: times.length, failed, p50: at(0.5), p95: at(0.95) }
}

/** Returns the resident set in bytes on Linux; 0 elsewhere. */
function rss({ pid }: ChildProcess): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024
  } catch {
    return 0
  }
}

function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  return new Promise((resolve) => {
    child.once('exit', () => resolve())
    child.kill(signal)
    // A second signal ends a server at once, even if it still writes.
    setTimeout(() => child.kill(signal), 3000).unref()
  })
}
