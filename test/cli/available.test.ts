/** `foretoken ls --available`, and models that are not here: nothing is downloaded that nobody asked for. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { catalogue } from '../../node/catalogue.ts'
import { startCli } from '../helpers/cli-process.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'foretoken-names-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

async function run(...args: readonly string[]) {
  // A hub that refuses connections: whatever is downloaded without assent would fail in another way.
  const hub = { HF_ENDPOINT: 'http://127.0.0.1:9', FORETOKEN_HOME: folder, HF_HUB_CACHE: join(folder, 'hub') }
  const { got, ended } = startCli(args, hub)
  return { code: await ended, ...got }
}

test('ls --available lists every name with its licence, and sizes that are known', async () => {
  const { code, out } = await run('ls', '--available', '--json')
  expect(code).toBe(0)
  const { models, free_memory: free } = JSON.parse(out)
  expect(models.map(({ name }: { name: string }) => name)).toEqual(Object.keys(catalogue))
  expect(free).toBeGreaterThan(0)
  const [first, second] = models
  expect(first).toMatchObject({ name: 'smollm2-135m', bytes: 98_362_432, pulled: false, predictor: true, runs: true })
  expect(second).toMatchObject({ name: 'smollm2-360m', bytes: null, licence: 'Apache-2.0', predictor: false })
  const { out: table } = await run('ls', '--available')
  for (const name of Object.keys(catalogue)) expect(table).toContain(`\n${name} `)
  expect(table).toMatch(/qwen3-0\.6b +unknown +~\d+ MB/)
})

test.each([
  [
    ['run', '-m', 'qwen3-0.6b', 'hello'],
    /qwen3-0\.6b is not on this machine; download it first: foretoken pull qwen3-0\.6b/,
  ],
  [['embed', '-m', 'qwen3-embedding-0.6b', 'x'], /download it first: foretoken pull qwen3-embedding-0\.6b/],
  [['tokenize', '-m', 'qwen3:1.7b', 'x'], /download it first: foretoken pull qwen3-1\.7b/],
  [['inspect', 'llama3.2-1b'], /download it first: foretoken pull llama3\.2-1b/],
  [['pull', 'llama3.2-1b'], /licence Llama 3\.2 Community, which asks for your assent: https:.*--accept-license/],
  [['run', '-m', 'qwen3-0.7b', 'hello'], /the nearest name is qwen3-0\.6b/],
])('%j downloads nothing without a terminal', async (args, message) => {
  const { code, out, err } = await run(...args)
  expect([code, out]).toEqual([1, ''])
  expect(err).toMatch(message)
})

test('pull with --accept-license goes to the hub', async () => {
  const { code, err } = await run('pull', 'llama3.2-1b', '--accept-license')
  expect(code).toBe(1)
  expect(err).not.toMatch(/assent/)
  expect(err).toMatch(/127\.0\.0\.1:9|offline|network/)
})
