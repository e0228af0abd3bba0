/**
 * What `npm run soak:serve` runs: a server process, and 32 clients in this one. A fifth of the requests are left in the middle; of the others
 * every answer must be what it was when it was made alone. Prints a report as JSON; exit code 1 for a failed request, a wrong
 * answer, pages that were not given back, memory of the core beyond what was in use, or a process that has grown by more than 5 %.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { random } from '../helpers/random.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

const requests = Number(process.argv[2] ?? 20_000)
/** Before memory is looked at: code is compiled, pools, caches and the heap take the size that they keep. */
const warming = Math.ceil(requests / 2)
const clients = 32
const growth = 0.05
const rng = random(20_261_126)
const folder = mkdtempSync(join(tmpdir(), 'foretoken-soak-'))
const model = process.argv[3] ?? join(folder, 'tiny.gguf')
if (!process.argv[3]) writeFileSync(model, tinyGguf({ context: 1024 }))

const cli = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
const server = spawn(process.execPath, [cli, 'serve', '-m', model, '--port', '0', '--context', '1024'], {
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

/** As many as there are kinds of prompts: their answers alone are what is compared with. */
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

const counts = { answered: 0, left: 0, failed: 0, wrong: 0 }
const memory: number[] = []
/** Most bytes that pages were seen to take. */
let pools = 0
let next = 0
const begun = performance.now()
await Promise.all(Array.from({ length: clients }, client))
await settled()
const after = memory.at(-1)!
const before = memory[Math.floor(memory.length / 3)]!
const pages = await metric('foretoken_kv_pages_in_use')
const leaked = pages - (await metric('foretoken_prefix_pages'))
const core = await parts()
/** Nothing made room beforehand: the core's memory follows what was in use. */
const bounded = core.total <= 1.15 * (core.weights + core.tables + pools) + 2e6
const report = {
  requests,
  warming,
  ...counts,
  leaked_pages: leaked,
  core: { ...core, most_pools: pools, bounded },
  /** Fifty times, evenly; the first third is warming up. */
  rss_mb: memory.map((bytes) => Math.round(bytes / 1e6)),
  growth: Math.round((after / before - 1) * 1e4) / 1e4,
  seconds: Math.round((performance.now() - begun) / 1000),
}
const sound = counts.failed + counts.wrong + leaked === 0 && report.growth <= growth && bounded
console.log(JSON.stringify({ ...report, sound }))
const ended = once(server, 'exit')
server.kill('SIGTERM')
await ended
rmSync(folder, { recursive: true, force: true })
process.exit(sound ? 0 : 1)

async function client(): Promise<void> {
  while (next < warming + requests) {
    const number = next++
    const kind = rng.below(kinds)
    const leaves = rng.below(5) === 0
    try {
      const { text } = await answer(bodies[kind]!, leaves ? rng.below(4) : undefined)
      if (leaves) counts.left++
      else if (text === alone[kind]) counts.answered++
      else counts.wrong++
    } catch {
      counts.failed++
    }
    if (number % Math.max(1, Math.floor((warming + requests) / 50)) === 0) memory.push(rss())
    if (number % 100 === 0) pools = Math.max(pools, (await parts()).pools)
  }
}

/** The text of a stream; with `leaveAfter` the client goes away after so many reads. */
async function answer(body: object, leaveAfter?: number): Promise<{ text: string }> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (!response.ok) throw new Error(String(response.status))
  const decoder = new TextDecoder()
  let raw = ''
  let reads = 0
  // Leaving the loop closes the connection.
  for await (const bytes of response.body!) {
    raw += decoder.decode(bytes, { stream: true })
    if (leaveAfter !== undefined && ++reads > leaveAfter) return { text: '' }
  }
  if (!raw.endsWith('data: [DONE]\n\n')) throw new Error('broken off')
  const chunks = raw.split('\n\n').flatMap((frame) => (frame.startsWith('data: {') ? [JSON.parse(frame.slice(6))] : []))
  return { text: chunks.map(({ choices }) => choices[0]?.delta?.content ?? '').join('') }
}

/** Those who left are noticed soon. */
async function settled(): Promise<void> {
  for (let tries = 0; tries < 100 && (await metric('foretoken_answers')) > 0; tries++)
    await new Promise((resolve) => setTimeout(resolve, 50))
  memory.push(rss())
}

async function metric(name: string): Promise<number> {
  return metricOf(await metrics(), name)
}

/** What the core's memory is used for, in bytes, and all of it. */
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

/** Of the server, bytes; from Linux's own account, else 0 and nothing is said of growth. */
function rss(): number {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server.pid}/status`, 'utf8'))![1]) * 1024
  } catch {
    return 1
  }
}
