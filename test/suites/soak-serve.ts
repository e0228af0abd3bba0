/**
 * Runs `npm run soak:serve`: a server process, and clients in this one, for a number of requests or
 * of minutes. A fifth of the clients disconnect in the middle, a tenth stop reading; every other
 * answer must equal the one given alone. Then idle connections are used again. Prints a report as
 * JSON; exits with 1 for a failed request, a wrong answer, leaked pages or slots, memory of the
 * core beyond its use, or a process that has grown by more than 5 %.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { builtCommand } from '../helpers/built-command.ts'
import { random } from '../helpers/random.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    /** Duration, instead of a number of requests. */
    minutes: { type: 'string' },
    clients: { type: 'string', default: '32' },
    /** Name or file of the model. Default: the tiny random one. */
    model: { type: 'string' },
    seed: { type: 'string', default: '20261126' },
  },
})
const minutes = values.minutes === undefined ? undefined : Number(values.minutes)
const requests = minutes === undefined ? Number(positionals[0] ?? 20_000) : Number.POSITIVE_INFINITY
const clients = Number(values.clients)
/**
 * Share of the run before memory is compared: code is compiled, and pools, caches and the heap
 * reach their sizes.
 */
const settling = 1 / 3
const growth = 0.05
/** Stall limit of the server; a client that stops reading does so for longer. */
const stallMs = 2000
const rng = random(Number(values.seed))
const folder = mkdtempSync(join(tmpdir(), 'foretoken-soak-'))
const named = values.model ?? positionals[1]
const model = named ?? join(folder, 'tiny.gguf')
if (named === undefined) writeFileSync(model, tinyGguf({ context: 1024 }))
const config = join(folder, 'config.json')
writeFileSync(config, JSON.stringify({ limits: { stallSeconds: stallMs / 2000 } }))

const args = ['serve', '-m', model, '--port', '0', '--context', '1024', '--config', config]
const server = spawn(process.execPath, [builtCommand, ...args], {
  env: { ...process.env, FORETOKEN_API_KEY: '' },
  stdio: ['ignore', 'ignore', 'pipe'],
})
const url = await new Promise<string>((resolve, reject) => {
  const lines = createInterface({ input: server.stderr })
  lines.on('line', (line) => {
    const found = /http:\/\/\S+(?=\/v1)/.exec(line)
    if (found) resolve(found[0])
  })
  server.once('exit', (code) => reject(new Error(`the server ended with ${code}`)))
})
const served = (await (await fetch(`${url}/v1/models`)).json()).data[0].id as string

/** Number of different prompts; their answers alone are the reference. */
const kinds = 40
const bodies = Array.from({ length: kinds }, (_, kind) => ({
  model: served,
  messages: [{ role: 'user', content: `${kind} ${'tell me of it '.repeat(1 + rng.below(12))}` }],
  max_tokens: 4 + rng.below(24),
  temperature: kind % 2,
  seed: kind,
  stream: true,
}))
const alone: string[] = []
for (const body of bodies) alone.push((await answer(body)).text)

const counts = { answered: 0, left: 0, stalled: 0, failed: 0, wrong: 0 }
const failures = new Map<string, number>()
/** Maximum observed size of the pages, in bytes. */
let pools = 0
const begun = performance.now()
const elapsed = () => (performance.now() - begun) / 60_000
/** Samples in bytes: every minute, or fifty evenly spaced ones. */
const memory: number[] = [rss()]
let next = 0
await Promise.all(Array.from({ length: clients }, client))
const ran = Math.round(elapsed() * 60)
const reset = await reusedWhenIdle()
await settled()
const after = memory.at(-1)!
const before = memory[Math.floor(memory.length * settling)]!
const pages = await metric('foretoken_kv_pages_in_use')
const leaked = {
  pages: pages - (await metric('foretoken_prefix_pages')),
  places: await metric('foretoken_answers'),
  body_bytes: await metric('foretoken_body_bytes'),
}
const core = await parts()
/** Whether the core's memory followed its use; nothing was allocated beforehand. */
const bounded = core.total <= 1.15 * (core.weights + core.tables + pools) + 2e6
const report = {
  model: served,
  seed: Number(values.seed),
  clients,
  requests: next,
  ...counts,
  ...(failures.size > 0 && { failures: Object.fromEntries(failures) }),
  reset_when_idle: reset,
  leaked,
  core: { ...core, most_pools: pools, bounded },
  [minutes === undefined ? 'rss_mb' : 'rss_mb_per_minute']: memory.map((bytes) => Math.round(bytes / 1e6)),
  growth: Math.round((after / before - 1) * 1e4) / 1e4,
  seconds: ran,
}
const lost = leaked.pages + leaked.places + leaked.body_bytes
const sound = counts.failed + counts.wrong + reset + lost === 0 && report.growth <= growth && bounded
console.log(JSON.stringify({ ...report, sound }))
const ended = once(server, 'exit')
server.kill('SIGTERM')
await ended
rmSync(folder, { recursive: true, force: true })
process.exit(sound ? 0 : 1)

async function client(): Promise<void> {
  while (minutes === undefined ? next < requests : elapsed() < minutes) {
    const number = next++
    const kind = rng.below(kinds)
    const draw = rng.below(10)
    const leaves = draw < 2
    const stalls = draw === 2
    try {
      const { text } = await answer(bodies[kind]!, leaves || stalls ? rng.below(4) : undefined, stalls)
      if (leaves) counts.left++
      else if (stalls) counts.stalled++
      else if (text === alone[kind]) counts.answered++
      else counts.wrong++
      watch(number)
      if (number % 100 === 0) pools = Math.max(pools, (await parts()).pools)
    } catch (error) {
      counts.failed++
      const why = `${String((error as Error).cause ?? error).slice(0, 100)}, first after ${Math.round(elapsed() * 60)} s`
      const known = [...failures.keys()].find((one) => one.split(',')[0] === why.split(',')[0]) ?? why
      failures.set(known, (failures.get(known) ?? 0) + 1)
    }
  }
}

function watch(number: number): void {
  if (minutes !== undefined) {
    if (elapsed() >= memory.length) memory.push(rss())
  } else if (number % Math.max(1, Math.floor(requests / 50)) === 0) memory.push(rss())
}

/**
 * Returns the text of a stream; with `stopAfter` the client disconnects after that many reads, or
 * stops reading and disconnects later.
 */
async function answer(body: object, stopAfter?: number, stalls = false): Promise<{ text: string }> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (!response.ok) throw new Error(`${response.status} ${(await response.json()).error.code}`)
  const decoder = new TextDecoder()
  let raw = ''
  let reads = 0
  // Leaving the loop closes the connection.
  for await (const bytes of response.body!) {
    raw += decoder.decode(bytes, { stream: true })
    if (stopAfter === undefined || ++reads <= stopAfter) continue
    if (stalls) await new Promise((resolve) => setTimeout(resolve, stallMs))
    return { text: '' }
  }
  if (stopAfter !== undefined) return { text: '' }
  if (!raw.endsWith('data: [DONE]\n\n')) throw new Error('broken off')
  const chunks = raw.split('\n\n').flatMap((frame) => (frame.startsWith('data: {') ? [JSON.parse(frame.slice(6))] : []))
  return { text: chunks.map(({ choices }) => choices[0]?.delta?.content ?? '').join('') }
}

/**
 * Reuses connections that were idle for about 6 s, when Node by default would be closing them;
 * returns how many failed.
 */
async function reusedWhenIdle(): Promise<number> {
  let failed = 0
  await Promise.all(
    Array.from({ length: clients }, async (_, index) => {
      await answer(bodies[0]!)
      await new Promise((resolve) => setTimeout(resolve, 5970 + (60 * index) / clients))
      await answer(bodies[0]!).catch(() => failed++)
    }),
  )
  return failed
}

/** Waits until disconnected clients have been noticed. */
async function settled(): Promise<void> {
  for (let tries = 0; tries < 100 && (await metric('foretoken_answers')) > 0; tries++)
    await new Promise((resolve) => setTimeout(resolve, 50))
  memory.push(rss())
}

async function metric(name: string): Promise<number> {
  return metricOf(await metrics(), name)
}

/** Returns the parts and the total of the core's memory, in bytes. */
async function parts() {
  const text = await metrics()
  const part = (name: string) => metricOf(text, `foretoken_memory_bytes{part="${name}"}`)
  const total = metricOf(text, 'foretoken_wasm_bytes')
  return { total, weights: part('weights'), pools: part('pools'), tables: part('tables'), free: part('free') }
}

async function metrics(): Promise<string> {
  return (await fetch(`${url}/metrics`)).text()
}

function metricOf(text: string, name: string): number {
  return Number(
    text
      .split('\n')
      .find((line) => line.startsWith(`${name} `))
      ?.slice(name.length),
  )
}

/**
 * Returns the server's resident set in bytes on Linux; 1 elsewhere, so that growth is not reported.
 */
function rss(): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, 'utf8'))![1]) * 1024
  } catch {
    return 1
  }
}
