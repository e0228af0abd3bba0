/** The log of a server whose reader stands still. */
import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { logWriter } from '../../cli/log-writer.ts'

test('lines that nobody reads are dropped beyond a bound, and counted when the reader goes on', async () => {
  const out = new PassThrough()
  const write = logWriter(out)
  const line = { id: 'x'.repeat(1000) }
  for (let n = 0; n < 5000; n++) write(line)
  expect(out.writableLength).toBeLessThan(1.1 * (1 << 20))
  const lines: { dropped_lines?: number }[] = []
  let rest = ''
  out.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n')
    rest = parts.pop()!
    lines.push(...parts.map((part) => JSON.parse(part)))
  })
  await new Promise((resolve) => setTimeout(resolve, 20))
  write(line)
  write(line)
  await expect.poll(() => lines.at(-2)?.dropped_lines, { timeout: 5000 }).toBeGreaterThan(3000)
  expect(lines.at(-1)!.dropped_lines).toBeUndefined()
  expect(lines.length + lines.at(-2)!.dropped_lines!).toBe(5002)
})
