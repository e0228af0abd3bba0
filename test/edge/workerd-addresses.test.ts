/** Addresses and host names that can't be read, given to the app by workerd itself: `wrangler dev` refuses them before it is asked. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { afterAll, beforeAll, expect, test } from 'vitest'

const folder = mkdtempSync(join(tmpdir(), 'foretoken-addresses-'))
const app = fileURLToPath(new URL('../../edge/app.ts', import.meta.url))
/** Nothing that is asked here needs a model. */
const worker = `
import { createApp } from ${JSON.stringify(app)}
const config = { listen: 'loopback', hosts: ['good.example', 'a', 'x'], models: ['tiny'] }
const app = createApp({ engine: async () => { throw new Error('no model') }, config })
export default { fetch: (request) => app.fetch(request) }
`
let workerd: ChildProcess
let port: number

beforeAll(async () => {
  const entry = {
    contents: worker,
    resolveDir: fileURLToPath(new URL('../..', import.meta.url)),
    loader: 'ts',
  } as const
  await build({
    stdin: entry,
    bundle: true,
    format: 'esm',
    outfile: join(folder, 'worker.js'),
    conditions: ['workerd'],
  })
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  port = (probe.address() as { port: number }).port
  await new Promise((resolve) => probe.close(resolve))
  writeFileSync(
    join(folder, 'config.capnp'),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [ (name = "main", worker = .app) ],
  sockets = [ (name = "http", address = "127.0.0.1:${port}", http = (), service = "main") ]
);
const app :Workerd.Worker = (
  modules = [ (name = "worker.js", esModule = embed "worker.js") ],
  compatibilityDate = "2026-11-01"
);
`,
  )
  const wrangler = createRequire(import.meta.url).resolve('wrangler/package.json')
  const { default: program } = createRequire(wrangler)('workerd') as { default: string }
  workerd = spawn(program, ['serve', join(folder, 'config.capnp')], { stdio: 'inherit' })
  while ((await asked('/healthz', 'good.example').catch(() => 0)) !== 200)
    await new Promise((resolve) => setTimeout(resolve, 50))
})
afterAll(async () => {
  const ended = once(workerd, 'exit')
  workerd.kill('SIGTERM')
  await ended
  rmSync(folder, { recursive: true, force: true })
})

/** The status of a GET whose address and host name are sent as they are. */
async function asked(path: string, host: string): Promise<number> {
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.write(`GET ${path} HTTP/1.1\r\nhost: ${host}\r\nconnection: close\r\n\r\n`)
  let got = ''
  for await (const piece of socket.setEncoding('utf8')) got += piece
  if (got.startsWith('HTTP/1.1 4')) expect(got).toMatch(/"code":"(invalid_url|not_found|model_not_found)"/)
  return Number(/^HTTP\/1.1 (\d+)/.exec(got)?.[1])
}

test.each(['[::1', 'a b', '%zz', 'x:port', 'x:99999', 'a/b', 'a?b', 'user@x', 'a\\b'])(
  'a host name %j: 400',
  async (host) => expect(await asked('/v1/models', host)).toBe(400),
)

test.each(['/v1/models/%zz', '/v1/models/%c3%28', '/v1/models/a%00b', '/%', '/v1/models/%ed%a0%80'])(
  '%s: 400',
  async (path) => expect(await asked(path, 'good.example')).toBe(400),
)

test.each([
  ['/v1/models', 200],
  ['/v1/models/tiny', 200],
  ['/v1/models/t%C3%AFny', 404],
  ['/v1/models?x=%zz', 200],
])('%s: %d', async (path, status) => expect(await asked(path, 'good.example:80')).toBe(status))
