/** Clients that leave a Worker: under `wrangler dev`, where their going is seen. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { prepare } from '../../node/prepare.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { type Dev, wranglerDev } from '../helpers/wrangler-dev.ts'

const config = fileURLToPath(new URL('./worker/wrangler.toml', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'foretoken-dev-'))
let dev: Dev

beforeAll(async () => {
  const out = join(folder, 'tiny')
  await prepare(tinyFiles({ type: 'q8_0', layers: 7, context: 8192 }), out, { context: 8192 })
  dev = await wranglerDev(config, join(folder, 'state'))
  for (const file of readdirSync(out))
    await fetch(`${dev.url}/${file}`, { method: 'PUT', body: readFileSync(join(out, file)) })
})
afterAll(async () => {
  await dev?.stop()
  rmSync(folder, { recursive: true, force: true })
})

interface Stats {
  readonly running: number
  readonly waiting: number
  readonly pages_in_use: number
  readonly prefix_pages: number
}

async function stats(): Promise<Stats> {
  return (await (await fetch(`${dev.url}/stats`)).json()) as Stats
}

/** Asks for a long answer, and leaves after `lines` lines of it. */
function leaveAfter(lines: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const body = JSON.stringify({ prompt: [1, 2, 3, 4], maxTokens: 8000, ignoreEos: true })
    const asked = request(`${dev.url}/stream`, { method: 'POST' }, (response) => {
      let seen = 0
      response.on('data', (piece: Buffer) => {
        seen += piece.toString().split('\n').length - 1
        if (seen < lines) return
        response.destroy()
        resolve()
      })
      response.on('error', () => resolve())
    })
    asked.on('error', reject)
    asked.end(body)
  })
}

test('a client that disconnects frees its pages, and others continue', async () => {
  const other = fetch(`${dev.url}/generate`, {
    method: 'POST',
    body: JSON.stringify({ prompt: [9, 8, 7], maxTokens: 200, ignoreEos: true }),
  })
  await Promise.all([leaveAfter(3), leaveAfter(20), leaveAfter(1)])
  expect(((await (await other).json()) as { ids: number[] }).ids).toHaveLength(200)
  let found = await stats()
  for (let tries = 0; tries < 100 && found.running + found.waiting > 0; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 100))
    found = await stats()
  }
  expect(found, dev.log()).toMatchObject({ running: 0, waiting: 0 })
  expect(found.pages_in_use).toBe(found.prefix_pages)
})
