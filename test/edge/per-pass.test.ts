/**
 * Counts passes, not time: the frame of each token is written to its socket before the next pass
 * but one begins, for every client.
 */
import { request, ServerResponse } from 'node:http'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { createApp } from '../../edge/index.ts'
import { type Serving, serveNode } from '../../edge/node.ts'
import type { Engine } from '../../src/index.ts'
import { chatBody, chatPath } from '../helpers/ask.ts'
import { testConfig, testKeys, tinyEngine } from '../helpers/tiny-server.ts'

const clients = 32
const tokens = 40
/** Every token is this letter, so that each shows text. */
const letter = 'e'

let engine: Engine
let serving: Serving
beforeAll(async () => {
  engine = await tinyEngine({ kvTokens: 1024 * clients })
  const limits = { concurrency: clients, concurrencyPerKey: clients, choices: clients }
  const app = createApp({ engine, config: { ...testConfig, limits } })
  serving = await serveNode({ fetch: app.fetch, port: 0 })
})
afterAll(async () => {
  await serving.close()
  await engine.close()
})

/** Number of letters in the chunks of some bytes of a stream, by choice. */
function lettersOf(text: string): number[] {
  const letters: number[] = []
  for (const [, index, content] of text.matchAll(/"index":(\d+),"delta":\{"content":"(e*)"\}/g))
    for (const _ of content!) letters.push(Number(index))
  return letters
}

/** Asks for an answer, and reads it to its end. */
function streamed(name: string, n: number): Promise<void> {
  const [id] = engine.tokenize(letter)
  const body = JSON.stringify(
    chatBody({
      stream: true,
      n,
      max_tokens: tokens,
      ignore_eos: true,
      logit_bias: { [id!]: 100 },
      messages: [{ role: 'user', content: name }],
    }),
  )
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${testKeys.one}` }
    const asked = request(`${serving.url}${chatPath}`, { method: 'POST', headers }, (response) => {
      response.on('end', resolve).on('error', reject).resume()
    })
    asked.on('error', reject).end(body)
  })
}

/** The pass that was the last to begin when each token of an answer was written, by answer. */
async function writtenAt(run: () => Promise<unknown>): Promise<number[][]> {
  const written = new Map<string, number[]>()
  const streams = new Map<ServerResponse, number>()
  const spies = (['write', 'end'] as const).map((name) => {
    const original = ServerResponse.prototype[name] as (...args: unknown[]) => unknown
    return vi.spyOn(ServerResponse.prototype, name).mockImplementation(function (
      this: ServerResponse,
      ...args: unknown[]
    ) {
      const [bytes] = args
      if (!streams.has(this)) streams.set(this, streams.size)
      const text =
        typeof bytes === 'string' ? bytes : bytes instanceof Uint8Array ? new TextDecoder().decode(bytes) : ''
      for (const index of lettersOf(text)) {
        const key = `${streams.get(this)} ${index}`
        written.set(key, [...(written.get(key) ?? []), engine.stats.passes])
      }
      return original.apply(this, args) as never
    })
  })
  try {
    await run()
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
  return [...written.values()]
}

test.each([
  ['32 clients', () => Promise.all(Array.from({ length: clients }, (_, at) => streamed(`client ${at}`, 1)))],
  ['one client with 32 choices', () => streamed('all', clients)],
])('%s', async (_, run) => {
  const answers = await writtenAt(run)
  expect(answers).toHaveLength(clients)
  for (const passes of answers) {
    expect(passes).toHaveLength(tokens)
    // Each running answer has a token in every pass: the least difference belongs to a token that
    // was written at once.
    const late = passes.map((pass, token) => pass - token)
    expect(Math.max(...late) - Math.min(...late), passes.join(' ')).toBeLessThanOrEqual(1)
    // No timer and no second frame is waited for before the first is written.
    expect(late[0], passes.join(' ')).toBe(Math.min(...late))
  }
})
