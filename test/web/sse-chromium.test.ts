/** Compares our reader of server-sent events with a browser's, on random streams. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Browser, chromium as driver } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { chromium } from '../../scripts/chromium.mjs'
import { SseParser } from '../../src/stream/sse.ts'
import { browserFlags } from '../helpers/page.ts'
import { random } from '../helpers/random.ts'

let browser: Browser
beforeAll(async () => {
  browser = await driver.launch({ executablePath: chromium(), args: browserFlags })
})
afterAll(() => browser?.close())

const fields = [
  'data: ',
  'data:',
  'data',
  'event: x',
  'event: y',
  'event:',
  ': c',
  '',
  '',
  '',
  'id: 3',
  'foo',
  'foo: b',
  ' data: z',
]
const values = ['', 'a', ' b', 'ä😀', 'data: c', ':', '{"x": 1}']
const ends = ['\n', '\r\n', '\r', '\n\n', '\r\n\r\n', '\r\r']

function streamOf(seed: number): string {
  const rng = random(seed)
  const pick = (list: readonly string[]) => list[rng.below(list.length)]!
  let text = rng.below(4) === 0 ? '\ufeff' : ''
  for (let lines = rng.below(30); lines > 0; lines--) {
    const field = pick(fields)
    text += field + (field.startsWith('data:') ? pick(values) : '') + pick(ends)
  }
  // The standard drops an event without a final blank line, and our reader does not; both streams
  // have one.
  return `${text}\n\n`
}

test('every stream has the same events', async () => {
  const count = 120
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url!, 'http://sse')
    if (pathname === '/') return response.writeHead(200, { 'content-type': 'text/html' }).end('<p>streams</p>')
    const bytes = Buffer.from(streamOf(Number(pathname.slice(1))))
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write(bytes.subarray(0, bytes.length >> 1))
    return response.end(bytes.subarray(bytes.length >> 1))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const page = await browser.newPage()
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  const theirs = await page.evaluate(async (count) => {
    const read = (seed: number) =>
      new Promise<{ event: string; data: string }[]>((resolve) => {
        const events: { event: string; data: string }[] = []
        const source = new EventSource(`/${seed}`)
        for (const event of ['message', 'x', 'y'])
          source.addEventListener(event, ({ data }: MessageEvent<string>) => events.push({ event, data }))
        // Its end is an error: it would begin again.
        source.addEventListener('error', () => {
          source.close()
          resolve(events)
        })
      })
    const all: { event: string; data: string }[][] = []
    for (let seed = 1; seed <= count; seed++) all.push(await read(seed))
    return all
  }, count)
  for (let seed = 1; seed <= count; seed++) {
    const parser = new SseParser()
    const ours = [...parser.push(new TextEncoder().encode(streamOf(seed))), ...parser.end()]
    expect(ours, `seed ${seed}: ${JSON.stringify(streamOf(seed))}`).toEqual(theirs[seed - 1])
  }
  expect(theirs.flat().length).toBeGreaterThan(count)
  await page.close()
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
})
