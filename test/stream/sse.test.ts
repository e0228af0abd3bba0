/**
 * Tests server-sent events: the standard, extensions of servers, and any split into pieces.
 * test/web/sse-chromium.test.ts compares with a browser.
 */

import { expect, test } from 'vitest'
import { longestEvent, type ServerEvent, SseParser, serverEvents } from '../../src/stream/sse.ts'
import fc from '../helpers/properties.ts'

const encoder = new TextEncoder()

function parsed(...pieces: readonly (string | Uint8Array)[]): ServerEvent[] {
  const parser = new SseParser()
  const events = pieces.flatMap((piece) => parser.push(typeof piece === 'string' ? encoder.encode(piece) : piece))
  return [...events, ...parser.end()]
}

const data = (...texts: string[]) => texts.map((text) => ({ event: 'message', data: text }))

test.each<[string, string, ServerEvent[]]>([
  ['line feeds', 'data: a\n\ndata: b\n\n', data('a', 'b')],
  ['CRLF', 'data: a\r\n\r\ndata: b\r\n\r\n', data('a', 'b')],
  ['carriage returns', 'data: a\r\rdata: b\r\r', data('a', 'b')],
  ['all three mixed', 'data: a\r\n\ndata: b\r\n\rdata: c\n\r\n', data('a', 'b', 'c')],
  ['no space behind the colon', 'data:a\n\n', data('a')],
  ['one space of two is the separator', 'data:  a\n\n', data(' a')],
  ['data in many lines', 'data: a\ndata\ndata: b\n\n', data('a\n\nb')],
  ['comments', ': hello\n\n:\n\ndata: a\n: in between\ndata: b\n\n', data('a\nb')],
  ['a name', 'event: error\ndata: a\n\ndata: b\n\n', [{ event: 'error', data: 'a' }, ...data('b')]],
  ['a name without data is no event', 'event: ping\n\ndata: a\n\n', data('a')],
  ['id, retry and what nobody knows', 'id: 1\nretry: 5\nfoo: bar\ndata: a\n\n', data('a')],
  ['a byte order mark', '\ufeffdata: a\n\n', data('a')],
  ['empty data', 'data\n\ndata:\n\n', data('', '')],
  ['a last event without its blank line', 'data: a\n\ndata: b\n', data('a', 'b')],
  ['a last event without any end of line', 'data: a\n\ndata: [DONE]', data('a', '[DONE]')],
  [
    'the field error of older llama.cpp',
    'error: {"message":"full"}\n\n',
    [{ event: 'error', data: '{"message":"full"}' }],
  ],
  ['nothing', '', []],
  ['only ends of lines', '\r\n\n\r\r\n', []],
])('reads %s', (_, text, events) => {
  expect(parsed(text)).toEqual(events)
})

test('a stream has the same events however it is cut into pieces', () => {
  const line = fc.oneof(
    fc.constantFrom('data: ', 'data:', 'data', 'event: x', ': c', '', '', 'error: e', 'id: 7'),
    fc.string({ unit: 'grapheme', maxLength: 6 }).map((text) => `data: ${text.replace(/[\r\n]/g, '')}`),
  )
  const stream = fc.array(fc.tuple(line, fc.constantFrom('\n', '\r\n', '\r')), { maxLength: 20 })
  fc.assert(
    fc.property(stream, fc.array(fc.nat(400), { maxLength: 12 }), (lines, cuts) => {
      const bytes = encoder.encode(lines.flat().join(''))
      const ends = [...new Set([0, ...cuts.filter((at) => at < bytes.length), bytes.length])].sort((a, b) => a - b)
      const pieces = ends.slice(1).map((end, at) => bytes.subarray(ends[at], end))
      const single = [...bytes].map((byte) => Uint8Array.of(byte))
      expect(parsed(...pieces)).toEqual(parsed(bytes))
      expect(parsed(...single)).toEqual(parsed(bytes))
    }),
    { numRuns: 300 },
  )
})

test('an event of the maximum length is read, a longer one is refused, in one line and in many', () => {
  const room = longestEvent - 'data: '.length - 1
  expect(parsed(`data: ${'a'.repeat(room)}`)[0]?.data.length).toBe(room)
  expect(() => parsed(`data: ${'a'.repeat(room + 1)}`)).toThrow(/longer than 16777216/)
  const lines = 'data\n'.repeat(1 << 16)
  expect(() => parsed(...Array<string>(64).fill(lines))).toThrow(/longer than 16777216/)
  // Comments and events that have been given cost nothing.
  const cheap = `: ${'c'.repeat(1 << 20)}\n\ndata: a\n\n`
  expect(parsed(...Array<string>(40).fill(cheap))).toHaveLength(40)
})

function bodyOf(pieces: readonly string[], end: 'close' | 'error' | 'hang') {
  const state = { cancelled: false }
  const body = new ReadableStream<Uint8Array>({
    pull(out) {
      const piece = pieces[at++]
      if (piece !== undefined) out.enqueue(encoder.encode(piece))
      else if (end === 'close') out.close()
      else if (end === 'error') out.error(new Error('cut'))
    },
    cancel: () => {
      state.cancelled = true
      // A reader that stops does not wait for this.
      return new Promise(() => {})
    },
  })
  let at = 0
  return { body, state }
}

test('a body yields its events as they arrive, and a reader that stops early cancels it without waiting', async () => {
  const { body, state } = bodyOf(['data: a\n\nda', 'ta: b\n\n'], 'hang')
  const seen: string[] = []
  for await (const event of serverEvents(body)) {
    seen.push(event.data)
    if (seen.length === 2) break
  }
  expect(seen).toEqual(['a', 'b'])
  expect(state.cancelled).toBe(true)
})

test('a body that fails yields the events before, and then the failure', async () => {
  const seen: string[] = []
  const read = async () => {
    for await (const event of serverEvents(bodyOf(['data: a\n\ndata: half'], 'error').body)) seen.push(event.data)
  }
  await expect(read()).rejects.toThrow('cut')
  expect(seen).toEqual(['a'])
})
