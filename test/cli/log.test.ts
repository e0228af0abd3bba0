import { Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { LogWriter } from '../../cli/log.ts'

/** A reader that takes a piece only on request. */
function slowReader() {
  const taken: string[] = []
  let next: (() => void) | undefined
  const stream = new Writable({
    highWaterMark: 1000,
    write(chunk, _, done) {
      taken.push(String(chunk))
      next = done
    },
  })
  const read = async () => {
    while (next) {
      const done: () => void = next
      next = undefined
      done()
      await new Promise((resolve) => setImmediate(resolve))
    }
    return taken
      .join('')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
  }
  return { stream, read, text: () => taken.join('') }
}

test('unread lines are dropped beyond the limit, and a line says how many are missing', async () => {
  const { stream, read } = slowReader()
  const log = new LogWriter(stream, 10_000)
  for (let n = 0; n < 100_000; n++) {
    log.write({ n, text: 'x'.repeat(n % 200) })
    if (stream.writableLength > 10_000) expect.fail(`${stream.writableLength} bytes wait`)
  }
  const lines: { n?: number; dropped?: number }[] = await read()
  expect(lines.length).toBeGreaterThan(50)
  let next = 0
  for (const { n, dropped } of lines) {
    if (dropped !== undefined) next += dropped
    else expect(n).toBe(next++)
  }
  expect(next).toBe(100_000)
  log.write({ n: 'again' })
  expect((await read()).at(-1)).toEqual({ n: 'again' })
})

test('a line that fits is written, and one longer than the limit is not', async () => {
  const { stream, read } = slowReader()
  const log = new LogWriter(stream, 300)
  log.write({ a: 'x'.repeat(92) })
  expect((await read()).length).toBe(1)
  log.write({ a: 'x'.repeat(93) })
  log.write({ b: 1 })
  expect((await read()).slice(1)).toMatchObject([{ dropped: 1 }, { b: 1 }])
})

test('a terminal gets no control characters', async () => {
  const { stream, read, text } = slowReader()
  const log = new LogWriter(Object.assign(stream, { isTTY: true }))
  log.write({ cause: '\x9b31m\u202e' })
  expect(text()).toBe('{"cause":"\\u009b31m\\u202e"}\n')
  expect(await read()).toEqual([{ cause: '\x9b31m\u202e' }])
})
