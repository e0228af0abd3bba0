/** The suite of real clients on workerd: the entry and the wrangler.toml that are deployed, weights in a local R2. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { prepare } from '../../node/prepare.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { testConfig } from '../helpers/tiny-server.ts'
import { wrangler, wranglerDev } from '../helpers/wrangler-dev.ts'
import { openaiClients } from '../suites/openai-clients.ts'

const config = fileURLToPath(new URL('../../wrangler.toml', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'foretoken-workerd-'))
const state = join(folder, 'state')

beforeAll(async () => {
  const out = join(folder, 'tiny')
  await prepare(tinyFiles({ context: 2048 }), out, { context: 2048, kv: 'f32', guides: true })
  for (const file of readdirSync(out))
    await wrangler(['r2', 'object', 'put', `foretoken-weights/${file}`, '--file', join(out, file), '-c', config], state)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const dev = (variable: string) => wranglerDev(config, state, ['--var', `FORETOKEN_CONFIG:${variable}`])

openaiClients('workerd', async () => {
  const { url, stop } = await dev(JSON.stringify({ ...testConfig, models: ['tiny'] }))
  return { url, fetch, close: stop }
})

test.each([
  ['no JSON', '{"keys":'],
  ['no keys', '{}'],
])('a config with %s accepts no client', async (_, text) => {
  const { url, stop, log } = await dev(text)
  try {
    const response = await fetch(`${url}/v1/models`)
    expect(response.status).toBe(500)
    expect(await response.json()).toMatchObject({ error: { type: 'server_error', code: 'internal' } })
    // A Worker's output reaches the terminal by another path.
    await expect.poll(log).toContain('ForetokenError')
  } finally {
    await stop()
  }
})
