/** Downloads through real proxies on this machine. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import http, { type IncomingMessage } from 'node:http'
import https from 'node:https'
import { type AddressInfo, connect, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { proxyFor } from '../../node/proxy.ts'
import { selfSigned } from '../helpers/certificate.ts'
import { random } from '../helpers/random.ts'

const bytes = random(5).bytes(200_000)
const module = fileURLToPath(new URL('../../node/download.ts', import.meta.url))
let folder: string
const open: Server[] = []
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'foretoken-proxy-'))
})
afterEach(() => {
  for (const server of open.splice(0)) server.close()
  rmSync(folder, { recursive: true, force: true })
})

async function listen(server: Server): Promise<number> {
  open.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

const file = (request: IncomingMessage, response: http.ServerResponse) => {
  if (request.url === '/moved') return response.writeHead(302, { location: '/m.gguf' }).end()
  return response.writeHead(200, { 'content-length': bytes.length, etag: '"1"', connection: 'close' }).end(bytes)
}

interface Proxy {
  readonly url: string
  readonly seen: string[]
}

/** Starts a proxy that sends every name to `target`. `kinds` lists the requests that it accepts. */
async function proxy(target: number, kinds: readonly ('tunnels' | 'forwards')[], login?: string): Promise<Proxy> {
  const seen: string[] = []
  const allowed = (request: IncomingMessage) =>
    login === undefined || request.headers['proxy-authorization'] === `Basic ${Buffer.from(login).toString('base64')}`
  const server = http.createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`)
    if (!kinds.includes('forwards') || !allowed(request)) return response.writeHead(407).end()
    const { pathname } = new URL(request.url!)
    return http.get({ port: target, path: pathname, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode!, answer.headers)
      answer.pipe(response)
    })
  })
  server.on('connect', (request, socket) => {
    seen.push(`CONNECT ${request.url}`)
    socket.on('error', () => {})
    if (!kinds.includes('tunnels') || !allowed(request)) return socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')
    const onward = connect(target, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      onward.pipe(socket).pipe(onward)
    })
    return onward.on('error', () => socket.destroy())
  })
  return { url: `http://${login ? `${login}@` : ''}127.0.0.1:${await listen(server)}`, seen }
}

const none = Object.fromEntries(
  ['HTTP', 'HTTPS', 'ALL', 'NO'].flatMap((name) => [
    [`${name}_PROXY`, ''],
    [`${name.toLowerCase()}_proxy`, ''],
  ]),
)

/** Downloads in a process with this environment. Resolves with the failure, or '' for none. */
async function get(url: string, env: NodeJS.ProcessEnv): Promise<string> {
  const request = JSON.stringify({ url, target: join(folder, 'm.gguf'), tries: 1, connectMs: 20_000 })
  const code = `import { download } from ${JSON.stringify(module)}
try { await download(${request}) } catch (error) { console.log(error.code + ': ' + error.message) }`
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', code]
  const child = spawn(process.execPath, args, { env: { ...process.env, ...none, ...env } })
  let out = ''
  child.stdout.on('data', (text) => (out += text))
  child.stderr.on('data', (text) => (out += text))
  await new Promise((resolve) => child.on('close', resolve))
  return out
}

const isRight = () => expect(Buffer.compare(readFileSync(join(folder, 'm.gguf')), bytes)).toBe(0)

test('https goes through a tunnel, encrypted to its end', async () => {
  const { key, cert } = selfSigned()
  const ca = join(folder, 'ca.pem')
  writeFileSync(ca, cert)
  const port = await listen(https.createServer({ key, cert }, file))
  const { url, seen } = await proxy(port, ['tunnels'], 'user:secret')
  const env = { HTTPS_PROXY: url, NODE_EXTRA_CA_CERTS: ca }
  expect(await get(`https://localhost:${port}/moved`, env)).toBe('')
  isRight()
  expect(seen).toEqual([`CONNECT localhost:${port}`, `CONNECT localhost:${port}`])
  rmSync(join(folder, 'm.gguf'))
  // A machine in between is not trusted.
  expect(await get(`https://localhost:${port}/m.gguf`, { HTTPS_PROXY: url })).toMatch(/^network: .*self.signed/)
  expect(await get(`https://localhost:${port}/m.gguf`, { ...env, NO_PROXY: 'example.org, localhost' })).toBe('')
  isRight()
  expect(seen).toHaveLength(3)
})

test.each([
  ['tunnels', ['CONNECT hub.test:80']],
  ['forwards', ['CONNECT hub.test:80', 'GET http://hub.test/m.gguf']],
] as const)('plain http goes through a proxy that only %s', async (kind, expected) => {
  const port = await listen(http.createServer(file))
  const { url, seen } = await proxy(port, [kind], 'user:secret')
  expect(await get('http://hub.test/m.gguf', { all_proxy: url })).toBe('')
  isRight()
  expect(seen).toEqual(expected)
})

test('a proxy that is unreachable or refuses is named', async () => {
  const { url } = await proxy(9, [])
  const refused = await get('https://hub.test/m.gguf', { https_proxy: url })
  expect(refused).toMatch(/^network: .*the proxy 127\.0\.0\.1:\d+ answered 403 to CONNECT hub\.test:443/)
  expect(await get('https://hub.test/m.gguf', { https_proxy: '127.0.0.1:9' })).toMatch(/the proxy 127\.0\.0\.1:9/)
  expect(await get('https://hub.test/m.gguf', { https_proxy: 'socks5://127.0.0.1:9' })).toMatch(
    /^bad_argument: HTTPS_PROXY/,
  )
})

test.each<[string, string | undefined, Record<string, string>]>([
  ['https://a.org/', 'http://one:1/', { HTTPS_PROXY: 'http://one:1' }],
  ['https://a.org/', 'http://two:2/', { HTTPS_PROXY: 'http://one:1', https_proxy: 'two:2' }],
  ['https://a.org/', undefined, { HTTP_PROXY: 'http://one:1' }],
  ['http://a.org/', 'http://one:1/', { HTTP_PROXY: 'http://one:1' }],
  ['http://a.org/', 'http://three:3/', { ALL_PROXY: 'http://three:3' }],
  ['https://a.org/', undefined, { HTTPS_PROXY: ' ' }],
  ...['a.org', '.a.org', '*.a.org', '*', 'b.org,a.org', 'b.org a.org', 'A.ORG', 'a.org:443', 'a.org.'].map(
    (no): [string, undefined, Record<string, string>] => [
      'https://a.org/',
      undefined,
      { ALL_PROXY: 'p:1', NO_PROXY: no },
    ],
  ),
  ...['b.org', 'org.a', 'xa.org', 'a.org:80', '', ','].map((no): [string, string, Record<string, string>] => [
    'https://a.org/',
    'http://p:1/',
    { ALL_PROXY: 'p:1', no_proxy: no },
  ]),
  ['https://x.a.org:8443/', undefined, { ALL_PROXY: 'p:1', NO_PROXY: 'a.org:8443' }],
  ['http://127.0.0.1:80/', undefined, { ALL_PROXY: 'p:1', NO_PROXY: '127.0.0.0/8' }],
  ['http://128.0.0.1/', 'http://p:1/', { ALL_PROXY: 'p:1', NO_PROXY: '127.0.0.0/8' }],
  ['http://[::1]/', undefined, { ALL_PROXY: 'p:1', NO_PROXY: '::1' }],
  ['http://[::1]:8080/', undefined, { ALL_PROXY: 'p:1', NO_PROXY: '[::1]:8080' }],
  ['http://[fd00::1]/', undefined, { ALL_PROXY: 'p:1', NO_PROXY: 'fd00::/8' }],
])('%s is requested through %s in %j', (url, expected, env) => {
  expect(proxyFor(new URL(url), env)?.href).toBe(expected)
})
