/** `foretoken serve` as a process: what it prints, refuses, and how it stops. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { chatBody } from '../helpers/ask.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

const cli = fileURLToPath(new URL('../../cli/main.ts', import.meta.url))
let folder: string
let model: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'foretoken-serve-'))
  model = join(folder, 'tiny.gguf')
  writeFileSync(model, tinyGguf({ context: 1024 }))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function serve(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [cli, 'serve', '-m', model, '--port', '0', '--threads', '1', ...args], {
    env: { ...process.env, FORETOKEN_API_KEY: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const got = { out: '', err: '' }
  child.stdout.on('data', (text) => (got.out += text))
  child.stderr.on('data', (text) => (got.err += text))
  const ended = once(child, 'close').then(([code]) => code as number)
  const url = async () => {
    for (;;) {
      const found = /http:\/\/\S+(?=\/v1)/.exec(got.err)?.[0]
      if (found) return found
      if (child.exitCode !== null) throw new Error(got.err)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  return { child, got, ended, url }
}

const chat = (url: string, body: object, headers: Record<string, string> = {}) =>
  fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })

test('answers, logs one line a request, and finishes what runs when it is stopped', async () => {
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

test('keys come from the environment or a config; others are refused', async () => {
  const { child, ended, url } = serve(['--host', '0.0.0.0'], { FORETOKEN_API_KEY: 'a-key' })
  const at = (await url()).replace('0.0.0.0', '127.0.0.1')
  expect((await chat(at, chatBody())).status).toBe(401)
  expect((await chat(at, chatBody(), { authorization: 'Bearer a-key' })).status).toBe(200)
  child.kill('SIGTERM')
  expect(await ended).toBe(0)
})

test.each<[string, readonly string[], string, RegExp]>([
  ['an open address without keys', ['--host', '0.0.0.0'], '{}', /needs keys/],
  ['a config that is wrong', [], '{"limits": {"choices": "many"}}', /limits\.choices/],
  ['a config that is no object', [], '[]', /no JSON object/],
])('%s is refused before the model is loaded', async (_, args, config, message) => {
  const file = join(folder, 'config.json')
  writeFileSync(file, config)
  const { got, ended } = serve([...args, '--config', file])
  expect(await ended).toBe(1)
  expect(got.err).toMatch(message)
})
