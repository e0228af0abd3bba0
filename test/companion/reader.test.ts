/** A companion that answers whole prompts and sends no K and V, as llama.cpp's does. */
import { afterAll, expect, test } from 'vitest'
import { createCompanion } from '../../companion/app.ts'
import type { PromptReader } from '../../companion/reader.ts'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type Fetch, RemoteCompanion, Routed, StaticCompanions } from '../../src/index.ts'
import { randomPrompt } from '../helpers/answers.ts'
import { pairKey, patience } from '../helpers/companion.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const wasm = await loadWasm('auto', 1)
const [edge, far] = await Promise.all(
  [1, 2].map(() => Engine.load(tinyFiles({ context: 512 }), { wasm, prefixBytes: 0 })),
)
afterAll(() => Promise.all([edge!.close(), far!.close()]))

const reader: PromptReader = {
  archive: far!.archive,
  identity: far!.identity,
  context: far!.context,
  backend: { build: 'another', memoryBytes: () => 0 },
  stats: { running: 0, waiting: 0 },
  prediction: undefined,
  submit: (request) => far!.submit(request),
}
const asked: string[] = []
const app = createCompanion({ engine: reader, edges: [{ id: 'edge', key: pairKey }], config: { listen: 'loopback' } })
const fetch: Fetch = async (input, init) => {
  asked.push(new URL(input).pathname)
  return app.fetch(new Request(input, { ...init, ...(init.body && { duplex: 'half' }) } as RequestInit))
}
const client = new RemoteCompanion({ url: 'http://far.test', id: 'edge', key: pairKey }, fetch, patience)

test('a reader announces itself, refuses to send K and V, and relays answers', async () => {
  const { signal } = new AbortController()
  expect(await client.status(signal)).toMatchObject({ build: 'another', codecs: [] })
  const prompt = { ids: randomPrompt(64, 1), model: far!.identity, tenant: '', signal }
  await expect(client.kv({ ...prompt, codec: 'f16', from: 0, to: 48 })).rejects.toMatchObject({ code: 'remote' })
  const ids: number[] = []
  for await (const { id } of client.relay({ ...prompt, maxTokens: 5, options: { ignoreEos: true }, after: [] }))
    ids.push(id)
  const { ids: want } = await edge!.submit({ prompt: prompt.ids, maxTokens: 5, ignoreEos: true }).result()
  expect(ids).toEqual(want)
  // It is an endpoint of OpenAI's API only with an engine of our own.
  expect((await app.fetch(new Request('http://far.test/v1/models'))).status).toBe(404)
})

test('an edge that knows this never asks it for K and V', async () => {
  const companions = new StaticCompanions([{ name: 'far', client }])
  const routed = new Routed(edge!, { companions, ways: ['remote', 'race'] })
  await routed.refresh()
  asked.length = 0
  for (let at = 0; at < 6; at++)
    for await (const _ of routed.submit({ prompt: randomPrompt(200, 10 + at), maxTokens: 2, ignoreEos: true }));
  expect(asked.filter((path) => path === '/v1/prefill')).toEqual([])
})

test('without node-llama-cpp, `--backend llama` says what to install', async () => {
  const { openLlama } = await import('../../companion/llama/reader.ts')
  const installed = await import('node-llama-cpp' as string).then(
    () => true,
    () => false,
  )
  if (!installed)
    await expect(openLlama({ model: 'tiny', context: 512 })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('npm install node-llama-cpp'),
    })
})
