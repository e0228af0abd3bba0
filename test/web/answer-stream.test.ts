/** Answers of endpoints in the shapes that servers send: whole, broken off, failed, and not streamed. */
import { describe, expect, test } from 'vitest'
import { type AnswerPart, answerParts, textOf } from '../../web/answer-stream.ts'
import { failureIn, failureText } from '../../web/failure.ts'

const encoder = new TextEncoder()
const chunk = (content: string, more: object = {}) =>
  `data: ${JSON.stringify({ object: 'chat.completion.chunk', choices: [{ index: 0, delta: { content }, finish_reason: null, ...more }] })}\n\n`
const finish = (reason: string) =>
  `data: ${JSON.stringify({ choices: [{ index: 0, delta: {}, finish_reason: reason }] })}\n\n`

/** `cut`: the connection breaks after the pieces. */
function answer(pieces: readonly string[], cut = false): Response {
  let at = 0
  const body = new ReadableStream<Uint8Array>({
    pull(out) {
      const piece = pieces[at++]
      if (piece !== undefined) out.enqueue(encoder.encode(piece))
      else if (cut) out.error(new TypeError('network error'))
      else out.close()
    },
  })
  return new Response(body)
}

async function read(response: Response) {
  const pieces: AnswerPart[] = []
  let failed: string | undefined
  try {
    for await (const piece of answerParts(response)) pieces.push(piece)
  } catch (error) {
    failed = (error as Error).message
  }
  const text = pieces.map((piece) => (piece.type === 'text' ? piece.text : '')).join('')
  const ends = pieces.flatMap((piece) => (piece.type === 'finish' ? [piece.reason] : []))
  return { text, ends, failed, pieces }
}

test('a correction replaces the whole text', async () => {
  const correction = { index: 0, token: 1, offset: 1, text: 'c', message: { role: 'assistant', content: 'ac' } }
  const corrected = `data: ${JSON.stringify({ choices: [], foretoken: { correction } })}\n\n`
  const { pieces, ends } = await read(answer([chunk('a'), chunk('b'), corrected, finish('stop')]))
  expect(pieces.find(({ type }) => type === 'correction')).toEqual({ type: 'correction', text: 'ac' })
  expect(ends).toEqual(['stop'])
})

describe('a stream', () => {
  test.each<[string, string[], (string | undefined)[]]>([
    ['with a finish reason and [DONE]', [chunk('a'), chunk('b'), finish('stop'), 'data: [DONE]\n\n'], ['stop']],
    ['with [DONE] alone', [chunk('a'), chunk('b'), 'data: [DONE]\n\n'], [undefined]],
    ['with a finish reason alone', [chunk('a'), chunk('b'), finish('length')], ['length']],
    ['whose [DONE] has no end of line', [chunk('a'), chunk('b'), 'data: [DONE]'], [undefined]],
    ['whose last chunk has no end of line', [chunk('a'), chunk('b', { finish_reason: 'stop' }).trimEnd()], ['stop']],
    ['with CRLF', [`${chunk('a')}${chunk('b')}data: [DONE]\n\n`.replaceAll('\n', '\r\n')], [undefined]],
    ['with comments first', [': ping\n\n', '  \n', chunk('a'), ': ping\n\n', chunk('b'), finish('stop')], ['stop']],
    ['with an error that is null', [chunk('a').replace('{', '{"error":null,'), chunk('b'), finish('stop')], ['stop']],
    [
      'with parts as content',
      [chunk('a').replace('"a"', '[{"type":"text","text":"a"}]'), chunk('b'), finish('stop')],
      ['stop'],
    ],
    [
      'of several choices',
      [
        chunk('a'),
        chunk('x', { index: 1 }),
        finish('stop').replace('"index":0', '"index":1'),
        chunk('b'),
        finish('stop'),
      ],
      ['stop'],
    ],
  ])('%s is complete', async (_, pieces, ends) => {
    expect(await read(answer(pieces))).toMatchObject({ text: 'ab', ends, failed: undefined })
  })

  test('that ends or breaks after its finish reason is complete', async () => {
    for (const cut of [false, true])
      expect(await read(answer([chunk('ab'), finish('stop')], cut))).toMatchObject({ text: 'ab', failed: undefined })
  })

  test.each<[string, string[], boolean, RegExp]>([
    [
      'ends without one',
      [chunk('a'), chunk('b')],
      false,
      /^the answer broke off: the stream ended without a finish reason/,
    ],
    ['breaks without one', [chunk('a'), chunk('b')], true, /^the answer broke off: network error/],
    ['ends in the middle of an event', [chunk('ab'), 'data: {"choices":[{"del'], false, /not JSON/],
    ['turns into text', [chunk('ab'), 'data: Internal Server Error\n\n'], false, /not JSON: Internal Server Error/],
  ])('that %s reports it, and keeps its text', async (_, pieces, cut, why) => {
    const { text, failed } = await read(answer(pieces, cut))
    expect(text).toBe('ab')
    expect(failed).toMatch(why)
  })

  test.each<[string, string]>([
    ['a text', 'data: {"error": "it is full"}'],
    ['a message', 'data: {"error": {"message": "it is full", "code": 503}}'],
    ['a message in an error in an error', 'data: {"error": {"error": {"message": "it is full"}}}'],
    ['a message alone', 'data: {"object": "error", "message": "it is full", "code": 503}'],
    ['a detail', 'data: {"detail": "it is full"}'],
    ['a list of details', 'data: {"detail": [{"loc": ["body"], "msg": "it is full"}]}'],
    ['a list of errors', 'data: {"success": false, "errors": [{"code": 1, "message": "it is full"}]}'],
    ['an event of that name, as JSON', 'event: error\ndata: {"message": "it is full"}'],
    ['an event of that name, as text', 'event: error\ndata: it is full'],
    ['a field of that name', 'error: {"code": 503, "message": "it is full"}'],
    [
      'a finish reason',
      'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "error", "error": {"message": "it is full"}}]}',
    ],
  ])('that reports a failure as %s shows it in words', async (_, event) => {
    for (const end of ['\n\n', '\r\n\r\n', '']) {
      const { text, failed } = await read(answer([chunk('a'), event + end]))
      expect(text).toBe('a')
      expect(failed).toBe('the endpoint failed: it is full')
    }
  })
})

describe('a body that is not a stream', () => {
  const whole = {
    object: 'chat.completion',
    choices: [{ index: 0, message: { role: 'assistant', content: 'ab' }, finish_reason: 'stop' }],
  }

  test.each([
    ['one JSON', JSON.stringify(whole)],
    ['one JSON behind white space', `\n  ${JSON.stringify(whole, undefined, 2)}\n`],
    ['a list of one', JSON.stringify([whole])],
    ['a text of the old API', JSON.stringify({ choices: [{ text: 'ab', finish_reason: 'stop' }] })],
  ])('is read as %s', async (_, body) => {
    expect(await read(answer([...body]))).toMatchObject({ text: 'ab', ends: ['stop'], failed: undefined })
  })

  test.each<[string, string, RegExp]>([
    ['a failure with status 200', '{"error": {"message": "it is full"}}', /^the endpoint failed: it is full$/],
    ['a failure in a list', '[{"error": {"message": "it is full"}}]', /^the endpoint failed: it is full$/],
    ['a failure without a reason', '{"error": {}}', /^the endpoint failed: it gives no reason$/],
    ['another JSON', '{"response": "ab"}', /not in the format of OpenAI’s API/],
    ['half a JSON', '{"choices": [{"message"', /not JSON/],
    ['a page', '<!doctype html><title>Bad gateway</title><p>busy</p>', /a web page: Bad gateway busy/],
    ['nothing', '', /answer is empty/],
    ['white space', ' \n\n ', /answer is empty/],
    ['a text', 'upstream timed out', /not in the format of OpenAI’s API/],
  ])('and is %s is reported', async (_, body, why) => {
    expect((await read(answer([body]))).failed).toMatch(why)
    expect((await read(new Response(body))).failed).toMatch(why)
  })

  test('and missing is reported', async () => {
    expect((await read(new Response(null))).failed).toMatch(/answer is empty/)
  })
})

test('a stopped answer ends as a stop, and not as a failure', async () => {
  const stopped = new ReadableStream<Uint8Array>({
    pull: (out) => out.error(new DOMException('stopped', 'AbortError')),
  })
  const reading = answerParts(new Response(stopped)).next()
  await expect(reading).rejects.toMatchObject({ name: 'AbortError' })
})

test('a body of the maximum length is read, a longer one is not', async () => {
  const body = (bytes: number) => new Response(new Uint8Array(bytes).fill(97)).body!
  expect(await textOf(body(1000), 1000)).toHaveLength(1000)
  expect(await textOf(body(1001), 1000)).toBeUndefined()
})

describe('an error message', () => {
  test.each<[unknown, string | undefined]>([
    [{ error: null, choices: [] }, undefined],
    [{ error: false, choices: [] }, undefined],
    [{ choices: [], message: 'not a failure' }, undefined],
    [{ error: '' }, 'it gives no reason'],
    [{ error: 17 }, '17'],
    [{ error: { code: 'full' } }, 'full'],
    [{ error: { a: 1 } }, '{"a":1}'],
    [{ message: 'full' }, 'full'],
    [{ code: 1001, msg: 'full' }, 'full'],
    [{ error: true, message: 'full' }, 'full'],
    [{ error: 'Bad Request', message: 'no such model', statusCode: 400 }, 'Bad Request: no such model'],
    [{ type: 'error', error: { type: 'overloaded_error', message: 'full' } }, 'full'],
    [{ error: { message: { error: 'full' } } }, 'full'],
    ['text', undefined],
    [undefined, undefined],
  ])('is found in %j', (value, reason) => expect(failureIn(value)).toBe(reason))

  test('is short, however deep or large the body is', () => {
    const deep = (depth: number) => `${'{"error":'.repeat(depth)}"x"${'}'.repeat(depth)}`
    for (const body of [
      deep(5),
      deep(5000),
      deep(200_000),
      `{"error":"${'x'.repeat(1e6)}"}`,
      'x'.repeat(1e6),
      '<script '.repeat(1e5),
    ])
      expect(failureText(body).length).toBeLessThanOrEqual(301)
  })
})

describe('calls of tools', () => {
  const calls = (list: unknown) =>
    `data: ${JSON.stringify({ choices: [{ index: 0, delta: { tool_calls: list } }] })}\n\n`
  const read1 = async (...chunks: string[]) =>
    (await read(answer([...chunks, finish('tool_calls')]))).pieces.filter(({ type }) => type === 'call')
  const call = (index: number, name: string, text: string) => ({ type: 'call', index, name, arguments: text })

  test('are read in pieces, from several at once, and whole', async () => {
    const pieces = await read1(
      calls([{ index: 0, id: 'x', type: 'function', function: { name: 'a', arguments: '' } }]),
      calls([{ index: 0, function: { arguments: '{"b"' } }]),
      calls([
        { index: 0, function: { arguments: ': 1}' } },
        { index: 1, function: { name: 'c', arguments: '{}' } },
      ]),
    )
    expect(pieces).toEqual([call(0, 'a', ''), call(0, '', '{"b"'), call(0, '', ': 1}'), call(1, 'c', '{}')])
    const message = {
      content: null,
      tool_calls: [{ function: { name: 'a', arguments: { b: 1 } } }, { function: { name: 'c' } }],
    }
    const whole = await read(answer([JSON.stringify({ choices: [{ message, finish_reason: 'tool_calls' }] })]))
    expect(whole.pieces.filter(({ type }) => type === 'call')).toEqual([call(0, 'a', '{"b":1}'), call(1, 'c', '')])
  })

  test('that are none are left out', async () => {
    const bad = [null, 1, 'a', {}, { function: null }, { index: -1, function: {} }, { index: 1.5, function: {} }]
    expect(await read1(calls(bad), calls('x'), calls({ index: 0 }), calls([{ index: '0', function: {} }]))).toEqual([])
  })

  test('are at most 64 in an answer', async () => {
    const at = (index: number) => calls([{ index, function: { name: 'a' } }])
    expect(await read1(at(63), at(64), at(1e9))).toEqual([call(63, 'a', '')])
    expect(await read1(calls(Array(70).fill({ function: { name: 'a' } })))).toHaveLength(64)
  })
})
