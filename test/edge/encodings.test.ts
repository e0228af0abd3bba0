/**
 * Tests compressed bodies: which are read, which are refused, and that a small one cannot become a
 * large one.
 */
import { deflateRawSync, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readBytes } from '../../edge/body.ts'
import { createApp } from '../../edge/index.ts'
import { decoded } from '../../edge/inflate.ts'
import type { App } from '../../edge/server.ts'
import type { Engine } from '../../src/index.ts'
import { ask, chatBody, refusal } from '../helpers/ask.ts'
import { testConfig, tinyEngine } from '../helpers/tiny-server.ts'

const bodyBytes = 50_000
let engine: Engine
let app: App
beforeAll(async () => {
  engine = await tinyEngine()
  app = createApp({ engine, config: { ...testConfig, limits: { bodyBytes } } })
})
afterAll(() => engine.close())

const text = JSON.stringify(chatBody())
const send = (raw: Uint8Array | ReadableStream<Uint8Array>, encoding: string) =>
  ask(app, undefined, { raw: raw as BodyInit, headers: { 'content-encoding': encoding } })

/** Bytes in pieces of some length. */
function inPieces(bytes: Uint8Array, length: number): ReadableStream<Uint8Array> {
  let at = 0
  return new ReadableStream({
    pull(controller) {
      if (at >= bytes.length) return controller.close()
      controller.enqueue(bytes.slice(at, at + length))
      at += length
    },
  })
}

describe('encoded bodies are read', () => {
  test.each([
    ['gzip', gzipSync(text)],
    ['x-gzip', gzipSync(text)],
    ['GZIP', gzipSync(text)],
    ['deflate', deflateSync(text)],
    ['deflate', deflateRawSync(text)],
    ['identity', new TextEncoder().encode(text)],
  ])('%s', async (encoding, bytes) => {
    expect((await send(bytes, encoding)).status).toBe(200)
    for (const length of [1, 7]) expect((await send(inPieces(bytes, length), encoding)).status).toBe(200)
  })

  test('up to the body limit, which counts decoded bytes', async () => {
    const ofLength = (length: number) => {
      const empty = JSON.stringify(chatBody({ top_p: 7, user: '' })).length
      return JSON.stringify(chatBody({ top_p: 7, user: ' '.repeat(length - empty) }))
    }
    const status = async (length: number) => refusal(await send(gzipSync(ofLength(length)), 'gzip'))
    // Taken as a body, whatever is wrong with it.
    expect(await status(bodyBytes)).toMatchObject({ status: 400, param: 'top_p' })
    expect(await status(bodyBytes + 1)).toMatchObject({ status: 413, code: 'body_too_large' })
  })
})

describe('encoded bodies are refused', () => {
  test.each([
    ['br', new Uint8Array(10)],
    ['zstd', zstdCompressSync(text)],
    ['gzip, gzip', gzipSync(gzipSync(text))],
    ['compress', new Uint8Array(10)],
    ['x'.repeat(1000), new Uint8Array(10)],
  ])('%s: 415 lists the accepted encodings', async (encoding, bytes) => {
    const response = await send(bytes, encoding)
    expect(response.headers.get('accept-encoding')).toBe('gzip, deflate')
    expect(await refusal(response)).toMatchObject({ status: 415, code: 'unsupported_media_type' })
  })

  test.each([
    ['what is not gzip', 'gzip', new TextEncoder().encode(text)],
    ['gzip that breaks off', 'gzip', gzipSync(text).subarray(0, 40)],
    ['gzip with a wrong sum', 'gzip', gzipSync(text).map((byte, at, all) => (at === all.length - 6 ? byte ^ 1 : byte))],
    ['what is not deflate', 'deflate', new TextEncoder().encode(text)],
    ['nothing at all', 'gzip', new Uint8Array()],
    ['one byte', 'deflate', Uint8Array.of(0x78)],
  ])('%s: 400', async (_, encoding, bytes) => {
    const found = await refusal(await send(bytes, encoding))
    expect(found.status).toBe(400)
    expect(['invalid_encoding', 'invalid_json']).toContain(found.code)
  })

  test('a body cut off in transit is reported as such', async () => {
    const half = gzipSync(text).slice(0, 30)
    const breaking = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(half),
      pull: (controller) => controller.error(new Error('the connection was reset')),
    })
    expect(await refusal(await send(breaking, 'gzip'))).toMatchObject({ status: 400, code: 'incomplete_body' })
  })
})

describe('encoded bodies cost no more than others', () => {
  test.each(['gzip', 'deflate'] as const)('100 MB of zeros as %s: only a little is decoded', async (encoding) => {
    const bomb = (encoding === 'gzip' ? gzipSync : deflateSync)(new Uint8Array(100_000_000))
    expect(await refusal(await send(bomb, encoding))).toMatchObject({ status: 413, code: 'body_too_large' })
    const before = process.memoryUsage().arrayBuffers
    const reader = decoded(inPieces(bomb, 1000), encoding, 1 << 20).getReader()
    let out = 0
    while (out < bodyBytes) out += (await reader.read()).value!.length
    // A stalled reader: what could be made ahead has been made by now.
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(16 << 20)
    await reader.cancel()
    expect(out).toBeLessThan(bodyBytes + (1 << 20))
  })

  test('endless empty blocks', async () => {
    const head = Uint8Array.of(0x78, 0x9c)
    const block = Uint8Array.of(0, 0, 0, 0xff, 0xff)
    const blocks = new Uint8Array(5000).map((_, at) => block[at % 5]!)
    let sent = 0
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(sent === 0 ? head : blocks)
        sent += sent === 0 ? 2 : blocks.length
      },
    })
    expect(await refusal(await send(body, 'deflate'))).toMatchObject({ status: 413 })
    expect(sent).toBeLessThan(2 * bodyBytes)
  })

  test('a body that stalls is abandoned in time, and its source is cancelled', async () => {
    let cancelled = false
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(gzipSync(text).slice(0, 20)),
      cancel: () => void (cancelled = true),
    })
    const request = new Request('http://app.test/', {
      method: 'POST',
      body,
      headers: { 'content-encoding': 'gzip' },
      duplex: 'half',
    } as RequestInit)
    await expect(readBytes(request, { bodyBytes, bodySeconds: 0.05 })).rejects.toMatchObject({ status: 408 })
    expect(cancelled).toBe(true)
  })
})
