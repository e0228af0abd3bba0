/** Clients for Python, unmodified, against Node's server, each on its own: chat, stream, second turn, error, cancel. They come from PyPI the first time. */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { pythonWith } from '../../scripts/python.mjs'
import { testKeys } from '../helpers/tiny-server.ts'
import { RecordingServer } from '../suites/clients/recorded.ts'

let server: RecordingServer
const folder = mkdtempSync(join(tmpdir(), 'foretoken-clients-'))
beforeAll(async () => {
  server = await RecordingServer.start()
})
afterAll(async () => {
  await server?.close()
  rmSync(folder, { recursive: true, force: true })
})

const env = { ...process.env, LLM_USER_PATH: folder, LITELLM_LOCAL_MODEL_COST_MAP: 'True', NO_PROXY: '127.0.0.1' }

/** Runs a script of `test/suites/clients` with a package, and sends all that it sent once more. */
async function driven(script: string, python: (program: string) => string) {
  server.sent.length = 0
  const path = fileURLToPath(new URL(`../suites/clients/${script}`, import.meta.url))
  const { stdout } = await promisify(execFile)(python('python'), [path, server.url, testKeys.one], { env })
  await server.idle()
  for (const request of server.sent.slice()) expect(await server.replay(request)).toBe(request.status)
  return { seen: JSON.parse(stdout.trim().split('\n').at(-1)!), sent: server.sent.map(({ body }) => body).join('\n') }
}

const clients = {
  openai: '3.54.0',
  llm: '0.36',
  litellm: '1.110.2',
  anthropic: '2.14.0',
  ollama: '0.6.3',
}

function driving(name: keyof typeof clients, check: (python: (program: string) => string) => Promise<void>): void {
  let python: (program: string) => string
  try {
    python = pythonWith(name, clients[name])
  } catch (error) {
    test(`${name} is skipped: ${String(error)}`, () => {})
    return
  }
  test(name, () => check(python))
}

driving('openai', async (python) => {
  const { seen, sent } = await driven('openai_client.py', python)
  expect(seen).toMatchObject({ streamed: seen.whole, ignored: 'odd', error: 'model_not_found' })
  for (const text of [seen.whole, seen.second, seen.response]) expect(text).toMatch(/./s)
  expect(sent).toContain('"seed":9223372036854775807')
})

driving('llm', async (python) => {
  const { seen } = await driven('llm_client.py', python)
  expect(seen).toMatchObject({ streamed: seen.whole, error: expect.stringContaining('there is no model') })
  for (const text of [seen.first, seen.second, seen.whole]) expect(text).toMatch(/./s)
})

driving('litellm', async (python) => {
  const { seen, sent } = await driven('litellm_client.py', python)
  expect(seen).toMatchObject({ streamed: seen.whole, error: ['NotFoundError', 404] })
  for (const text of [seen.whole, seen.second, seen.text]) expect(text).toMatch(/./s)
  expect(sent).toMatch(/"top_k": ?40/)
})

driving('anthropic', async (python) => {
  const { seen } = await driven('anthropic_client.py', python)
  expect(seen).toMatchObject({ streamed: seen.whole, stop: 'max_tokens', models: ['tiny'], read: seen.count })
  expect(seen.error).toEqual(['not_found_error', true])
  for (const text of [seen.whole, seen.second]) expect(text).toMatch(/./s)
})

driving('ollama', async (python) => {
  const { seen } = await driven('ollama_client.py', python)
  expect(seen).toMatchObject({ streamed: seen.whole, text: seen.whole, counts: [24, true, true] })
  expect(seen).toMatchObject({ models: ['tiny:latest', 'llama', 'tiny:latest'], capabilities: ['completion', 'tools'] })
  expect(seen.error).toEqual([404, expect.stringContaining('there is no model')])
  expect(seen.second).toMatch(/./s)
})
