/** `foretoken serve` as a process: what it prints, refuses, and how it stops. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { chatBody } from '../helpers/ask.ts'
import { builtCommand } from '../helpers/built-command.ts'
import { postChat as chat, startCli } from '../helpers/cli-process.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

let folder: string
let model: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'foretoken-serve-'))
  model = join(folder, 'tiny.gguf')
  writeFileSync(model, tinyGguf({ context: 1024 }))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const serve = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
  startCli(['serve', '-m', model, '--port', '0', '--threads', '1', ...args], env)

test('answers, logs one line per request, and finishes running requests when it is stopped', async () => {
  const { child, got, ended, url } = serve([])
  const at = await url()
  expect(at).toMatch(/^http:\/\/127\.0\.0\.1:/)
  const stream = await chat(at, chatBody({ stream: true, max_tokens: 60 }))
  child.kill('SIGTERM')
  expect(await stream.text()).toContain('[DONE]')
  expect(await ended).toBe(0)
  const lines = got.out.trim().split('\n')
  expect(lines).toHaveLength(1)
  expect(JSON.parse(lines[0]!)).toMatchObject({ route: '/v1/chat/completions', status: 200, completion_tokens: 60 })
})

test('a stop refuses a request whose body is still arriving, and does not wait for it', async () => {
  const { child, ended, url } = serve([])
  const { port } = new URL(await url())
  const asking = request({
    port,
    method: 'POST',
    path: '/v1/chat/completions',
    headers: { 'content-type': 'application/json', 'content-length': 100 },
  })
  const answered = once(asking, 'response')
  asking.write('{"model"')
  asking.on('error', () => {})
  await new Promise((resolve) => setTimeout(resolve, 300))
  child.kill('SIGTERM')
  const [response] = (await answered) as [IncomingMessage]
  expect(response.statusCode).toBe(503)
  response.resume()
  expect(await ended).toBe(0)
})

test('an unread log delays neither answers nor the end', async () => {
  const args = ['serve', '-m', model, '--port', '0', '--threads', '1']
  const child = spawn(process.execPath, [builtCommand, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(child, 'close')
  let err = ''
  child.stderr.on('data', (text) => (err += text))
  while (!/ at http/.test(err)) await new Promise((resolve) => setTimeout(resolve, 20))
  const at = / at (http:[^\s]+)\/v1/.exec(err)![1]!
  // More than pipes hold.
  for (let round = 0; round < 20; round++)
    await Promise.all(
      Array.from({ length: 50 }, async () => {
        const response = await fetch(`${at}/v1/models`)
        expect(response.status).toBe(200)
        await response.arrayBuffer()
      }),
    )
  child.kill('SIGTERM')
  expect((await once(child, 'exit'))[0]).toBe(0)
  child.stdout.resume()
  await ended
})

test('keys come from the environment or a config; others are refused', async () => {
  const { child, ended, url } = serve(['--host', '0.0.0.0'], { FORETOKEN_API_KEY: 'a-key' })
  const at = (await url()).replace('0.0.0.0', '127.0.0.1')
  expect((await chat(at, chatBody())).status).toBe(401)
  expect((await chat(at, chatBody(), { authorization: 'Bearer a-key' })).status).toBe(200)
  child.kill('SIGTERM')
  expect(await ended).toBe(0)
})

test.runIf(process.platform === 'linux')(
  'the loopback address that it announces is one that it answers on',
  async () => {
    const { child, ended, url } = serve(['--host', '127.0.0.2'])
    const at = await url()
    expect(at).toMatch(/^http:\/\/127\.0\.0\.2:/)
    expect((await chat(at, chatBody())).status).toBe(200)
    child.kill('SIGTERM')
    expect(await ended).toBe(0)
  },
)

test.each<[string, readonly string[], string, RegExp]>([
  ['an open address without keys', ['--host', '0.0.0.0'], '{}', /needs keys/],
  ['a config that is wrong', [], '{"limits": {"choices": "many"}}', /limits\.choices/],
  ['a config that is no object', [], '[]', /not a JSON object/],
])('%s is refused before the model is loaded', async (_, args, config, message) => {
  const file = join(folder, 'config.json')
  writeFileSync(file, config)
  const { got, ended } = serve([...args, '--config', file])
  expect(await ended).toBe(1)
  expect(got.err).toMatch(message)
})
