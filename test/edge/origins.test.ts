/** Hosts and origins as people write them in a config, and as browsers and other clients send them. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp, type ServerConfig } from '../../edge/index.ts'
import type { Engine } from '../../src/index.ts'
import { ask, refusal } from '../helpers/ask.ts'
import { testConfig, tinyEngine } from '../helpers/tiny-server.ts'

let engine: Engine
beforeAll(async () => {
  engine = await tinyEngine()
})
afterAll(() => engine.close())

const open: ServerConfig = { listen: 'loopback' }
const appWith = (config: ServerConfig) => createApp({ engine, config })
const models = (config: ServerConfig, headers: Record<string, string>) =>
  ask(appWith(config), undefined, { path: '/v1/models', headers })

describe('origins', () => {
  const sent = [
    'https://example.org',
    'http://localhost:3000',
    'http://[::1]:8080',
    'https://xn--bcher-kva.example',
    'app://obsidian.md',
    'tauri://localhost',
    'capacitor://localhost',
    'vscode-webview://1ab2c3',
    'chrome-extension://abcdefghijklmnopabcdefghijklmnop',
    'safari-web-extension://A1B2C3D4-0000-0000-0000-000000000000',
    'file://',
  ]
  test.each(sent)('%s may be allowed, and then is', async (origin) => {
    const config = { ...open, origins: [origin] }
    const response = await models(config, { host: 'localhost', origin })
    expect(response.status).toBe(200)
    expect(response.headers.get('access-control-allow-origin')).toBe(origin)
    expect(response.headers.get('access-control-expose-headers')).toContain('x-foretoken-ignored')
    expect((await models(config, { host: 'localhost', origin: `${origin}.evil.example` })).status).toBe(403)
  })

  test.each([
    ['null', /null is the origin/],
    ['*', /list each/],
    ['http://localhost:*', /list each/],
    ['https://*.example.org', /list each/],
    ['https://example.org:443', /send https:\/\/example\.org;/],
    ['http://example.org:80', /send http:\/\/example\.org;/],
    ['https://example.org/', /send https:\/\/example\.org;/],
    ['https://example.org/path?x#y', /send https:\/\/example\.org;/],
    ['https://Example.org', /send https:\/\/example\.org;/],
    ['HTTPS://example.org', /send https:\/\/example\.org;/],
    ['https://bücher.example', /send https:\/\/xn--bcher-kva\.example;/],
    ['https://user@example.org', /send https:\/\/example\.org;/],
    ['ws://example.org', /send http:\/\/example\.org;/],
    ['http://0x7f.1', /send http:\/\/127\.0\.0\.1;/],
    ['APP://obsidian.md', /send app:\/\/obsidian\.md;/],
    ['app://obsidian.md/', /send app:\/\/obsidian\.md;/],
    ['example.org', /a scheme and a host/],
    ['data:text/html,x', /a scheme and a host/],
    ['', /a scheme and a host/],
    [' https://example.org', /a scheme and a host|browsers send/],
  ])('%s is refused at start, with the correct form', (origin, message) => {
    expect(() => appWith({ ...open, origins: [origin] })).toThrow(message)
  })
})

describe('a preflight', () => {
  const origin = 'https://good.example'
  const preflight = (asked: string, more: Record<string, string> = {}) =>
    ask(appWith({ ...testConfig, origins: [origin] }), undefined, {
      method: 'OPTIONS',
      key: '',
      path: '/v1/chat/completions',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': asked,
        ...more,
      },
    })

  test('is allowed with any headers it asks for', async () => {
    const asked = 'authorization,content-type,x-stainless-os,x-stainless-retry-count,openai-beta,anthropic-version'
    const response = await preflight(asked)
    expect(response.status).toBe(204)
    expect(response.headers.get('access-control-allow-headers')).toBe(asked)
    expect(response.headers.get('vary')).toMatch(/origin/i)
    expect((await preflight('a, b ,c')).headers.get('access-control-allow-headers')).toBe('a,b,c')
  })

  test('may ask for at most 64 headers, with valid names', async () => {
    const names = (count: number) => Array.from({ length: count }, (_, n) => `x-${n}`).join(',')
    expect((await preflight(names(64))).status).toBe(204)
    expect((await preflight(names(65))).status).toBe(400)
    expect((await preflight('x'.repeat(4096))).status).toBe(204)
    expect((await preflight('x'.repeat(4097))).status).toBe(400)
    expect((await preflight('a b')).status).toBe(400)
  })

  test('from another origin is allowed nothing; private-network access is granted to trusted origins', async () => {
    const network = { 'access-control-request-private-network': 'true' }
    const answer = (await preflight('x-a', network)).headers
    expect(answer.get('access-control-allow-private-network')).toBe('true')
    const other = (await preflight('x-a', { ...network, origin: 'https://evil.example' })).headers
    expect(other.get('access-control-allow-origin')).toBeNull()
    expect(other.get('access-control-allow-private-network')).toBeNull()
  })
})

describe('host names', () => {
  test.each([
    ['Example.org', 'example.org'],
    ['example.org:8443', 'EXAMPLE.ORG:8443'],
    ['example.org.', 'example.org'],
    ['example.org', 'example.org.:80'],
    ['example.org', 'example.org:1234'],
    ['::1', '[::1]:8787'],
    ['[0:0:0:0:0:0:0:1]', '[::1]'],
    ['BÜCHER.example', 'xn--bcher-kva.example'],
    ['192.168.1.7', '192.168.1.7:8787'],
  ])('%s answers to %s', async (written, host) => {
    expect((await models({ ...testConfig, hosts: [written] }, { host })).status).toBe(200)
    expect(await refusal(await models({ ...testConfig, hosts: [written] }, { host: 'evil.example' }))).toMatchObject({
      status: 403,
      code: 'host_not_allowed',
    })
  })

  test.each(['', 'https://example.org', 'example.org/x', '*.example.org', 'a b', ':8787', 'user@example.org'])(
    '"%s" is refused at start',
    (written) => {
      expect(() => appWith({ ...open, hosts: [written] })).toThrow(/hosts\.0: must be a host name/)
    },
  )

  test.each([
    ['127.0.0.2:8787', 200],
    ['127.255.0.1', 200],
    ['LOCALHOST:80', 200],
    ['localhost.', 200],
    ['[::1]:8787', 200],
    ['127.evil.example', 403],
    ['127.0.0.1.evil.example', 403],
    ['localhost.evil.example', 403],
    ['0.0.0.0', 403],
    ['128.0.0.1', 403],
  ])('on loopback, %s gets %s', async (host, status) => {
    expect((await models(open, { host })).status).toBe(status)
  })
})
