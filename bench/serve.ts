/**
 * Measures the server against the library, in one process over one engine.
 *
 *     npm run bench:serve -- [MODEL] [--runs 60] [--requests 200] [--clients 32] [--json]
 *
 * - overhead: client-side TTFT of 32-token prompts through the app on Node's server, in turns with
 *   the library; connections are kept.
 * - clients: requests a second of many clients against one at a time, the same requests.
 */

import { parseArgs } from 'node:util'
import { createApp, serveNode } from '../edge/node.ts'
import { defaultModel, type Engine, loadEngine } from '../node/index.ts'
import { defined } from '../src/base/at.ts'
import { load } from './load.ts'
import { machine } from './machine.ts'
import { eventsOf } from './sse.ts'
import { summary } from './stats.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '60' },
    requests: { type: 'string', default: '200' },
    clients: { type: 'string', default: '32' },
    json: { type: 'boolean', default: false },
  },
})
const promptTokens = 32
const warmUp = 8

const engine = await loadEngine(positionals[0] ?? defaultModel)
const app = createApp({ engine, config: { listen: 'loopback', models: ['bench'] } })
const serving = await serveNode({ fetch: app.fetch, port: 0 })
const url = `${serving.url}/v1`
try {
  const results = {
    bench: 'serve',
    machine: machine(),
    build: engine.backend.build,
    overhead: await overhead(),
    clients: await clients(),
  }
  console.log(values.json ? JSON.stringify(results) : JSON.stringify(results, undefined, 2))
} finally {
  await serving.close()
  await engine.close()
}

async function overhead() {
  const [server, library, difference]: [number[], number[], number[]] = [[], [], []]
  for (let run = -warmUp; run < Number(values.runs); run++) {
    // Which one goes first alternates, too.
    const order = run % 2 === 0 ? [serverFirst, libraryFirst] : [libraryFirst, serverFirst]
    const ms = new Map<typeof serverFirst, number>()
    for (const [index, first] of order.entries()) ms.set(first, await first(engine, ids(2 * run + index)))
    if (run < 0) continue
    server.push(defined(ms.get(serverFirst)))
    library.push(defined(ms.get(libraryFirst)))
    difference.push(defined(ms.get(serverFirst)) - defined(ms.get(libraryFirst)))
  }
  return {
    prompt_tokens: promptTokens,
    server_ttft_ms: summary(server),
    library_ttft_ms: summary(library),
    overhead_ms: summary(difference),
  }
}

async function clients() {
  const asked = { url, model: 'bench', words: [16, 64, 128], maxTokens: 32, seed: 1 }
  const requests = Number(values.requests)
  const one = await load({ ...asked, requests: Math.ceil(requests / 4), concurrency: 1 })
  const many = await load({ ...asked, requests, concurrency: Number(values.clients) })
  return { times: many.requests_per_s / one.requests_per_s, one, many }
}

/** Returns ids that begin differently for each seed. */
function ids(seed: number): number[] {
  return Array.from({ length: promptTokens }, (_, i) => 100 + Math.abs((seed * 7919 + i * 131) % 8000))
}

async function serverFirst(_: Engine, prompt: readonly number[]): Promise<number> {
  const begun = performance.now()
  const response = await fetch(`${url}/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'bench', prompt, max_tokens: 1, temperature: 0, stream: true }),
  })
  if (!response.body) throw new Error(`the server answered ${response.status} without a body`)
  let first: number | undefined
  for await (const _event of eventsOf(response.body)) first ??= performance.now() - begun
  if (!response.ok || first === undefined) throw new Error(`the server answered ${response.status} without a token`)
  return first
}

async function libraryFirst(library: Engine, prompt: readonly number[]): Promise<number> {
  const begun = performance.now()
  let first: number | undefined
  for await (const event of library.submit({ prompt, maxTokens: 1, temperature: 0 }))
    if (event.type === 'token') first ??= performance.now() - begun
  if (first === undefined) throw new Error('no token came')
  return first
}
