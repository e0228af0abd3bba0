/** The load client against a server of its own: it counts exactly what happened. */
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { type LoadOptions, load } from '../../bench/load.ts'

let server: Server | undefined
afterEach(() => server?.close())

/** Answers the n-th request, from 0. */
async function serving(answer: (response: ServerResponse, n: number) => void): Promise<LoadOptions> {
  let count = 0
  server = createServer((request, response) => {
    request.resume()
    request.on('end', () => answer(response, count++))
  })
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}/v1`,
    model: 'm',
    requests: 6,
    concurrency: 2,
    words: [4],
    maxTokens: 3,
    seed: 1,
  }
}

const data = (value: unknown) => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`
const content = (text: string) => data({ choices: [{ delta: { content: text } }] })
const good = [
  data({ choices: [{ delta: { role: 'assistant' } }] }),
  ': comment\n\n',
  content('a'),
  content('b'),
  content('c'),
]
const end = data({ choices: [], usage: { completion_tokens: 3 } }) + data('[DONE]')

function stream(response: ServerResponse, parts: readonly string[]): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  for (const part of parts) response.write(part)
  response.end()
}

test.each([undefined, 1000])('counts answers and their tokens (rate %s)', async (rate) => {
  const options = await serving((response) => stream(response, [...good, end]))
  const result = await load({ ...options, rate })
  expect(result).toMatchObject({ requests: 6, failed: 0, failures: {}, output_tokens: 18 })
  expect(result.e2e_ms.p50).toBeGreaterThanOrEqual(result.ttft_ms.p50)
  expect(result.ttft_ms.p50).toBeGreaterThan(0)
})

test('distinguishes failures', async () => {
  const options = await serving((response, n) => {
    if (n === 0) response.writeHead(503).end()
    else if (n === 1) stream(response, good)
    else if (n === 2) stream(response, [content('a'), data({ error: { message: 'x' } })])
    else if (n === 3) response.destroy()
    else stream(response, [...good, end])
  })
  const result = await load({ ...options, concurrency: 1 })
  expect(result).toMatchObject({ failed: 4, output_tokens: 6 })
  expect(result.failures).toEqual({ '503': 1, 'broken off': 1, 'error in the stream': 1, connection: 1 })
})

test('measures the time before the first token, and between tokens, of a stream cut anywhere', async () => {
  const options = await serving((response) => {
    response.writeHead(200)
    const text = [...good, end].join('').replaceAll('\n', '\r\n')
    response.write(text.slice(0, 50))
    setTimeout(() => response.end(text.slice(50)), 30)
  })
  const result = await load({ ...options, requests: 2 })
  expect(result.output_tokens).toBe(6)
  expect(result.ttft_ms.p50).toBeGreaterThan(25)
})
