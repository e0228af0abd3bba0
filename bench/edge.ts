/**
 * Measures a Worker against the library, and against an isolate's memory.
 *
 *     npm run bench:edge -- [MODEL] [--prepared FOLDER] [--runs 15] [--cold 5] [--requests 1000]
 *                           [--streams 4] [--json]
 *
 * - warm: client-side TTFT of 128-token prompts through workerd, in turns with the library in Node
 *   on one thread, same weights.
 * - cold: a fresh workerd with the weights in its local R2, from the first request to its first
 *   token.
 * - memory: requests of nearly the whole context, several at once, under the emulated limit: wasm
 *   memory and the resident set of workerd.
 *
 * The Worker is the deployed one, `edge/worker.ts` with its app, by the root's wrangler.toml.
 */

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { createTestHarness, type TestHarness } from 'wrangler'
import { loadPrepared } from '../edge/prepared.ts'
import { defaultModel, type Engine, modelFiles, shippedPredictor } from '../node/index.ts'
import { folderStore, prepare } from '../node/prepare.ts'
import { loadWasm } from '../node/wasm.ts'
import { machine } from './machine.ts'
import { summary } from './stats.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    prepared: { type: 'string' },
    runs: { type: 'string', default: '15' },
    cold: { type: 'string', default: '5' },
    requests: { type: 'string', default: '1000' },
    streams: { type: 'string', default: '4' },
    json: { type: 'boolean', default: false },
  },
})
process.env.WRANGLER_SEND_METRICS = 'false'
process.env.MINIFLARE_WORKERD_V8_FLAGS ??= '--wasm-max-mem-pages=1920 --max-old-space-size=128'

const configPath = fileURLToPath(new URL('../wrangler.toml', import.meta.url))
const vars = {
  FORETOKEN_CONFIG: JSON.stringify({ listen: 'loopback', models: ['bench'], limits: { concurrency: 64 } }),
}
const scratch = mkdtempSync(join(tmpdir(), 'foretoken-bench-edge-'))
try {
  const folder = values.prepared ?? (await prepared(positionals[0] ?? defaultModel))
  const results = {
    bench: 'edge',
    machine: machine(),
    cold: await cold(folder, Number(values.cold)),
    warm: await warm(folder, Number(values.runs)),
    memory: await memory(folder, Number(values.requests), Number(values.streams)),
  }
  console.log(values.json ? JSON.stringify(results) : JSON.stringify(results, undefined, 2))
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
process.exit(0)

async function prepared(model: string): Promise<string> {
  const files = await modelFiles(model)
  const out = join(scratch, 'prepared')
  await prepare(files, out, { predictor: await shippedPredictor(model) })
  await files.close()
  return out
}

interface Served {
  readonly url: string
  close(): Promise<void>
}

/** Starts a fresh workerd with the weights in its R2. Its Worker has loaded nothing yet. */
async function serve(folder: string): Promise<Served> {
  const harness: TestHarness = createTestHarness({ workers: [{ configPath, vars }] })
  const { url } = await harness.listen()
  const { WEIGHTS } = (await harness.getWorker().getEnv()) as {
    WEIGHTS: { put(key: string, value: Uint8Array): Promise<unknown> }
  }
  for (const file of readdirSync(folder)) await WEIGHTS.put(file, readFileSync(join(folder, file)))
  return { url: url.origin, close: () => harness.close() }
}

async function cold(folder: string, runs: number) {
  const all: number[] = []
  for (let run = 0; run < runs; run++) {
    const served = await serve(folder)
    all.push(await firstToken(served.url, ids(run, 32), 1))
    await served.close()
  }
  return { first_token_ms: { median: median(all), all } }
}

async function warm(folder: string, runs: number) {
  const served = await serve(folder)
  const engine = await loadPrepared(folderStore(folder), { wasm: await loadWasm('auto', 1) })
  const [worker, library]: [number[], number[]] = [[], []]
  // The first runs let both compile what they run often.
  for (let run = -4; run < runs; run++) {
    const prompt = ids(run + 100, 128)
    const a = await firstToken(served.url, prompt, 1)
    const b = await libraryFirst(engine, prompt)
    if (run < 0) continue
    worker.push(a)
    library.push(b)
  }
  await engine.close()
  await served.close()
  const [a, b] = [median(worker), median(library)]
  return { prompt_tokens: 128, worker_ttft_ms: a, library_ttft_ms: b, ratio: a / b, worker, library }
}

async function memory(folder: string, requests: number, streams: number) {
  const served = await serve(folder)
  const samples: { done: number; wasm_bytes: number; rss: number }[] = []
  let [next, done, failed] = [0, 0, 0]
  const modes = ['exact', 'refined', 'predicted', 'exact']
  const client = async () => {
    while (next < requests) {
      const number = next++
      const prompt = ids(number, 700 + ((number * 61) % 300))
      const foretoken = { prefill: modes[number % modes.length] }
      const answer = await completion(served.url, { prompt, max_tokens: 16, foretoken })
      if (!answer.ok) failed++
      await answer.arrayBuffer()
      done++
      if (done % Math.max(1, Math.floor(requests / 20)) === 0) samples.push({ done, ...(await held(served.url)) })
    }
  }
  await Promise.all(Array.from({ length: streams }, client))
  await served.close()
  const quarter = Math.max(1, samples.length >> 2)
  const rss = (part: typeof samples) => median(part.map((sample) => sample.rss))
  const growth = rss(samples.slice(-quarter)) / rss(samples.slice(quarter, 2 * quarter)) - 1
  return { requests, streams, failed, rss_growth: growth, samples }
}

function completion(url: string, body: object): Promise<Response> {
  return fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'bench', temperature: 0, ...body }),
  })
}

/**
 * Returns the bytes held by the engine, and by all workerd processes that this process has started.
 */
async function held(url: string): Promise<{ wasm_bytes: number; rss: number }> {
  const text = await (await fetch(`${url}/metrics`)).text()
  return { wasm_bytes: Number(/^foretoken_wasm_bytes (\d+)/m.exec(text)?.[1]), rss: workerdRss() }
}

/** Reads /proc on Linux; returns 0 elsewhere. */
function workerdRss(): number {
  let rss = 0
  try {
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      const status = readStatus(pid)
      if (!/^Name:\s+workerd/m.test(status) || !new RegExp(`^PPid:\\s+${process.pid}$`, 'm').test(status)) continue
      rss += Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024
    }
  } catch {
    return 0
  }
  return rss
}

function readStatus(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8')
  } catch {
    // The process has ended meanwhile.
    return ''
  }
}

/** Returns ids that begin differently for each seed, so that no cached prefix matches. */
function ids(seed: number, length: number): number[] {
  return Array.from({ length }, (_, i) => 100 + ((seed * 7919 + i * 131 + (i % 7) * seed) % 8000))
}

/** Returns the milliseconds from the request to the line of its first token. */
async function firstToken(url: string, prompt: readonly number[], maxTokens: number): Promise<number> {
  const begun = performance.now()
  const answer = await completion(url, { prompt, max_tokens: maxTokens, stream: true })
  if (!answer.body) throw new Error(`the Worker answered ${answer.status} without a body`)
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  let first = 0
  for (;;) {
    const { value, done } = await reader.read()
    text += value ?? ''
    if (first === 0 && text.includes('"text":"')) first = performance.now() - begun
    if (done) break
  }
  if (first === 0) throw new Error(`no token came: ${text.slice(0, 300)}`)
  return first
}

async function libraryFirst(engine: Engine, prompt: readonly number[]): Promise<number> {
  const begun = performance.now()
  for await (const event of engine.submit({ prompt, maxTokens: 1, ignoreEos: true }))
    if (event.type === 'token') return performance.now() - begun
  throw new Error('no token came')
}

function median(all: readonly number[]): number {
  return summary(all).median
}
