/** An endpoint as a contender of the TTFT benchmark: its answer is complete, or the run fails. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openTextEngine } from '../../bench/ttft/engines.ts'

const chunk = (content: string) => `data: ${JSON.stringify({ choices: [{ delta: { content } }] })}\n\n`
const streams: Record<string, string> = {
  whole: `${chunk('a')}${chunk('b')}data: [DONE]`,
  broken: `${chunk('a')}${chunk('b')}`,
  failed: `${chunk('a')}data: {"error": "it is full"}\n\n`,
}

const server = createServer((request, response) => {
  const [, name, path] = request.url!.split('/')
  if (path === 'models') return response.end(JSON.stringify({ data: [{ id: 'other' }] }))
  return response.writeHead(200, { 'content-type': 'text/event-stream' }).end(streams[name!])
})
beforeAll(() => new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve)))
afterAll(() => new Promise((resolve) => server.close(resolve)))

const answer = async (name: string) => {
  const engine = await openTextEngine(`http://127.0.0.1:${(server.address() as AddressInfo).port}/${name}`, {
    model: '',
    context: 64,
    threads: 1,
    cli: '',
  })
  return engine.answer([{ role: 'user', content: 'Hello' }], 8)
}

test('a stream that ends early or fails is not counted as an answer', async () => {
  expect(await answer('whole')).toBe('ab')
  await expect(answer('broken')).rejects.toMatchObject({ code: 'remote', message: /broke off/ })
  await expect(answer('failed')).rejects.toMatchObject({ code: 'remote', message: /it is full/ })
})
