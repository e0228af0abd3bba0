/**
 * Runs `npm run soak:shared`, an ordinary load: `foretoken serve` with default settings, 32 and
 * then 64 clients at once, each with its own question after one system prompt of 900 words, 150
 * tokens per answer, round after round. Nothing is allocated beforehand.
 *
 * Prints a line for each round with the parts of the memory, and a report as JSON; exits with 1 for
 * a failed answer, for a resident set that grows by more than 3 % from the third round to the last,
 * or for one above 700 MB.
 */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { postChat, startCli } from '../helpers/cli-process.ts'

const { values } = parseArgs({
  options: {
    clients: { type: 'string', multiple: true, default: ['32', '64'] },
    rounds: { type: 'string', default: '20' },
    model: { type: 'string' },
  },
})
const rounds = whole('rounds', values.rounds)
const crowds = values.clients.map((clients) => whole('clients', clients))
const most = { growth: 0.03, megabytes: 700 }

/** Sizes in MB at the end of a round. */
interface Memory {
  /** The resident set of the process. */
  readonly rss: number
  /** Size of the core's memory: weights, KV pages and tables. */
  readonly wasm: number
  /** JavaScript objects, alive or not yet collected. */
  readonly heap_used: number
  /** Memory that V8 has committed for them. */
  readonly heap_committed: number
  /** Size of the young generation in it. */
  readonly young: number
  /** Memory of objects outside the heap, including ArrayBuffers. */
  readonly external: number
  readonly array_buffers: number
}

const subjects = ['rivers', 'bridges', 'harbours', 'mills', 'roads', 'markets', 'bells', 'gardens', 'lamps']
const system = Array.from({ length: 900 }, (_, word) => subjects[(word * 7 + Math.floor(word / 9)) % 9]).join(' ')

const reports = []
for (const clients of crowds) reports.push(await crowd(clients))
const sound = reports.every(
  ({ failed, growth, peak_mb }) => failed === 0 && growth <= most.growth && peak_mb <= most.megabytes,
)
console.log(JSON.stringify({ rounds, reports, sound }))
process.exit(sound ? 0 : 1)

/** Runs one crowd of clients on a new server, so that its memory is independent of the last. */
async function crowd(clients: number) {
  const probe = new URL('../helpers/heap-probe.mjs', import.meta.url)
  const { model } = values
  const server = startCli(['serve', '--port', '0', ...(model === undefined ? [] : ['-m', model])], {
    NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} --import ${probe}`,
  })
  const at = await server.url()
  const served = (await (await fetch(`${at}/v1/models`)).json()).data[0].id as string
  const memory: Memory[] = []
  const failures: Record<string, number> = {}
  let failed = 0
  for (let round = 0; round < rounds; round++) {
    const answers = await Promise.all(
      Array.from({ length: clients }, (_, client) => answer(at, served, client + round * clients)),
    )
    for (const failure of answers.filter((one) => one !== undefined)) {
      failed++
      failures[failure] = (failures[failure] ?? 0) + 1
    }
    const sizes = await look(server, at)
    memory.push(sizes)
    const parts = Object.entries(sizes).map(([name, size]) => `${name} ${size}`)
    console.error(`${clients} clients, round ${round + 1}: ${failed} failed; MB: ${parts.join(', ')}`)
  }
  server.child.kill('SIGTERM')
  await Promise.race([server.ended, once(server.child, 'exit')])
  const rss = memory.map((sizes) => sizes.rss)
  const growth = Math.round((rss.at(-1)! / rss[Math.min(2, rounds - 1)]! - 1) * 1e4) / 1e4
  return { clients, failed, failures, growth, peak_mb: Math.max(...rss), memory }
}

/** Returns the parts of the server's memory; Linux only, since it needs signals and /proc. */
async function look({ child, got }: ReturnType<typeof startCli>, url: string): Promise<Memory> {
  const known = got.err.length
  child.kill('SIGUSR2')
  let line: string | undefined
  for (const deadline = performance.now() + 10_000; line === undefined; await delay(20)) {
    line = /^heap (.*)\n/m.exec(got.err.slice(known))?.[1]
    if (performance.now() > deadline) throw new Error(`the server does not tell its heap: ${got.err.slice(-300)}`)
  }
  const heap = JSON.parse(line)
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8')
  return {
    rss: megabytes(Number(/VmRSS:\s+(\d+)/.exec(status)![1]) * 1024),
    wasm: megabytes(await metric(url, 'foretoken_wasm_bytes')),
    heap_used: megabytes(heap.heapUsed),
    heap_committed: megabytes(heap.heapTotal),
    young: megabytes(heap.young),
    external: megabytes(heap.external),
    array_buffers: megabytes(heap.arrayBuffers),
  }
}

/** Streams one answer to its end; resolves with the error, if any. */
async function answer(url: string, served: string, question: number): Promise<string | undefined> {
  try {
    const response = await postChat(url, {
      model: served,
      stream: true,
      max_tokens: 150,
      seed: question,
      messages: [
        { role: 'system', content: system },
        { role: 'user', content: `Question ${question}: which of them is nearest to the sea, and why?` },
      ],
    })
    const text = await response.text()
    if (!response.ok) return `${response.status} ${text.slice(0, 200)}`
    if (text.includes('"error"')) return text.slice(text.indexOf('"error"')).slice(0, 200)
    return text.endsWith('data: [DONE]\n\n') ? undefined : 'the stream broke off'
  } catch (error) {
    return String(error)
  }
}

async function metric(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text()
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)?.[1])
}

function megabytes(bytes: number): number {
  return Math.round(bytes / 1e6)
}

function whole(name: string, value: string): number {
  if (/^[1-9]\d{0,5}$/.test(value)) return Number(value)
  console.error(`--${name} is ${value}; give a whole number from 1`)
  process.exit(2)
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
