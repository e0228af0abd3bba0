/**
 * Measures whose memory grows: the resident set of workerd over thousands of requests.
 *
 *     npm run bench:workerd-rss -- [MODEL] [--requests 3000] [--json]
 *
 * - `harness, empty Worker`: a Worker that answers 'ok', behind the proxy that wrangler and
 *   Miniflare put before it.
 * - `workerd alone, empty Worker`: the same Worker in workerd without that proxy.
 * - `workerd alone, this Worker`: edge/worker.ts with a model's weights as assets; short streamed
 *   answers.
 * - `workerd alone, refused requests`: the same under requests of up to 1 MB that it must refuse,
 *   eight at once.
 *
 * The difference of the first two is the proxy's, and the third is judged from request 500 on.
 * Linux only.
 */

import { execFile, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { createTestHarness } from 'wrangler'
import { modelFiles } from '../node/index.ts'
import { prepare } from '../node/prepare.ts'
import { defined } from '../src/base/at.ts'
import { tinyGguf } from '../test/helpers/tiny-model.ts'
import { machine } from './machine.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { requests: { type: 'string', default: '3000' }, json: { type: 'boolean', default: false } },
})
process.env.WRANGLER_SEND_METRICS = 'false'
const requests = Number(values.requests)
/** Until this many requests are answered, workerd compiles and fills its caches. */
const warm = Math.min(500, Math.floor(requests / 4))
const every = Math.max(1, Math.floor((requests - warm) / 10))
const flags = ['nodejs_compat', 'enable_request_signal']
/**
 * An isolate has 128 MB for its heap and wasm together. V8 alone has no such limit, and leaves
 * garbage for far longer than 3,000 requests.
 */
const v8 = ['--max-old-space-size=48', '--max-semi-space-size=2', '--semi-space-growth-factor=1']
const date = '2026-11-01'
const empty = 'export default { fetch: async (request) => new Response(String((await request.text()).length)) }\n'
/** Bodies that are most expensive if all of one is read before it is refused. */
const hopeless = [
  { prompt: 'letters that do not fit '.repeat(5500) },
  { prompt: Array.from({ length: 131_072 }, () => -1) },
  { prompt: Array.from({ length: 131_072 }, () => []) },
  { messages: Array.from({ length: 65_536 }, () => ({})) },
  { prompt: 'x', metadata: Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [`k${i}`, 'v'])) },
  { prompt: 'x', logit_bias: Object.fromEntries(Array.from({ length: 70_000 }, (_, i) => [i, 1])) },
].map((body) => JSON.stringify({ model: 'bench', ...body }))

const require = createRequire(import.meta.url)
const folder = mkdtempSync(join(tmpdir(), 'foretoken-workerd-rss-'))

try {
  const worker = await app()
  const rows = [
    await inHarness(),
    await alone('empty Worker', emptyWorker(), ask),
    await alone('this Worker', worker, chat),
    await alone('refused requests', worker, refused),
  ]
  const report = { bench: 'workerd-rss', machine: machine(), requests, rows }
  if (values.json) console.log(JSON.stringify(report))
  else
    for (const { name, growth, bytes_per_request, rss_mb } of rows)
      console.log(
        `${name}: ${(100 * growth).toFixed(1)} % from request ${warm} on, ${bytes_per_request} bytes a request; MB: ${rss_mb.join(' ')}`,
      )
} finally {
  rmSync(folder, { recursive: true, force: true })
}
process.exit(0)

/** Sends requests one after the other to `url`, and samples the resident set of `pids`. */
async function grow(
  name: string,
  url: string,
  send: (url: string, number: number) => Promise<void>,
  pids: () => string[],
) {
  const rss_mb: number[] = []
  for (let done = 1; done <= requests; done++) {
    await send(url, done)
    if (done >= warm && (done - warm) % every === 0) rss_mb.push(Math.round(residentBytes(pids()) / 1e5) / 10)
  }
  const [first, last] = [defined(rss_mb[0]), defined(rss_mb.at(-1))]
  return {
    name,
    growth: Math.round((last / first - 1) * 1e4) / 1e4,
    bytes_per_request: Math.round(((last - first) * 1e6) / (requests - warm)),
    rss_mb,
  }
}

async function ask(url: string): Promise<void> {
  await (await fetch(url, { method: 'POST', body: 'x'.repeat(4000) })).arrayBuffer()
}

async function chat(url: string, number: number): Promise<void> {
  const answer = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model: 'bench',
      max_tokens: 4,
      stream: true,
      messages: [{ role: 'user', content: `Question ${number % 97}: where does the river end?` }],
    }),
  })
  const text = await answer.text()
  if (!text.endsWith('data: [DONE]\n\n')) throw new Error(`request ${number}: ${answer.status} ${text.slice(0, 300)}`)
}

async function refused(url: string, number: number): Promise<void> {
  const body = defined(hopeless[number % hopeless.length])
  const path = body.includes('"messages"') ? '/v1/chat/completions' : '/v1/completions'
  const headers = { 'content-type': 'application/json' }
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      const answer = await fetch(url + path, { method: 'POST', headers, body })
      await answer.arrayBuffer()
      if (answer.status < 400 || answer.status > 499)
        throw new Error(`request ${number} was answered by ${answer.status}`)
    }),
  )
}

async function inHarness() {
  const at = join(folder, 'harness')
  mkdirSync(at)
  writeFileSync(join(at, 'main.js'), empty)
  const configPath = join(at, 'wrangler.toml')
  const list = flags.map((flag) => `"${flag}"`).join(', ')
  writeFileSync(
    configPath,
    `name = "empty"\nmain = "main.js"\ncompatibility_date = "${date}"\ncompatibility_flags = [${list}]\n`,
  )
  const harness = createTestHarness({ workers: [{ configPath }] })
  const { url } = await harness.listen()
  const row = await grow('harness, empty Worker', url.origin, ask, childrenNamed)
  await harness.close()
  return row
}

/**
 * Runs a Worker in workerd itself. `described` is its modules and bindings in workerd's
 * configuration language.
 */
async function alone(name: string, described: string, send: (url: string, number: number) => Promise<void>) {
  const port = await freePort()
  const config = join(folder, `${name.replaceAll(' ', '-')}.capnp`)
  const list = flags.map((flag) => `"${flag}"`).join(', ')
  writeFileSync(
    config,
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "weights", disk = (path = ${JSON.stringify(join(folder, 'weights'))})),
  ],
  v8Flags = [${v8.map((flag) => `"${flag}"`).join(', ')}],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
const worker :Workerd.Worker = (${described}
  compatibilityDate = "${date}",
  compatibilityFlags = [${list}],
);
`,
  )
  mkdirSync(join(folder, 'weights'), { recursive: true })
  const program: string = require('workerd').default
  const child = spawn(program, ['serve', config, '--experimental'], { stdio: ['ignore', 'ignore', 'inherit'] })
  try {
    const url = `http://127.0.0.1:${port}`
    for (let tries = 0; ; tries++) {
      try {
        await fetch(url)
        break
      } catch (error) {
        if (tries > 100) throw error
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
    }
    return await grow(`workerd alone, ${name}`, url, send, () => [String(child.pid)])
  } finally {
    child.kill('SIGTERM')
  }
}

function emptyWorker(): string {
  writeFileSync(join(folder, 'empty.js'), empty)
  return `\n  modules = [(name = "main.js", esModule = embed "empty.js")],`
}

/** Bundles edge/worker.ts as a deployment does, and prepares the model's weights beside it. */
async function app(): Promise<string> {
  const bundle = join(folder, 'bundle')
  const wrangler = join(dirname(require.resolve('wrangler/package.json')), 'bin', 'wrangler.js')
  const toml = fileURLToPath(new URL('../wrangler.toml', import.meta.url))
  await promisify(execFile)(process.execPath, [wrangler, 'deploy', '--dry-run', '-c', toml, '--outdir', bundle])
  const files = readdirSync(bundle).filter((file) => /\.(js|wasm)$/.test(file))
  const modules = [...files.filter((file) => file.endsWith('.js')), ...files.filter((file) => file.endsWith('.wasm'))]
  const tiny = join(folder, 'tiny.gguf')
  if (positionals.length === 0) writeFileSync(tiny, tinyGguf({ context: 1024 }))
  const model = await modelFiles(positionals[0] ?? tiny)
  await prepare(model, join(folder, 'weights'))
  await model.close()
  const config = JSON.stringify(JSON.stringify({ listen: 'loopback', models: ['bench'] }))
  const list = modules.map(
    (file) => `(name = "${file}", ${file.endsWith('.js') ? 'esModule' : 'wasm'} = embed "bundle/${file}")`,
  )
  return `
  modules = [${list.join(', ')}],
  bindings = [(name = "ASSETS", service = "weights"), (name = "FORETOKEN_CONFIG", text = ${config})],`
}

/** Returns the ids of this process's children that are called workerd. */
function childrenNamed(): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false
    const status = statusOf(pid)
    return /^Name:\s+workerd/m.test(status) && new RegExp(`^PPid:\\s+${process.pid}$`, 'm').test(status)
  })
}

function residentBytes(pids: readonly string[]): number {
  return pids.reduce((sum, pid) => sum + Number(/^VmRSS:\s+(\d+)/m.exec(statusOf(pid))?.[1] ?? 0) * 1024, 0)
}

function statusOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/status`, 'utf8')
  } catch {
    return ''
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
}
