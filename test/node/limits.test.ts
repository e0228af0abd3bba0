/** Limits on what a server can cost its client: bytes, disk space, time. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { reserveOf } from '../../node/disk.ts'
import { type DownloadRequest, download } from '../../node/download.ts'
import { type FileServer, fileServer } from '../helpers/file-server.ts'
import { random } from '../helpers/random.ts'

const bytes = random(6).bytes(200_000)
let server: FileServer
let folder: string
beforeEach(async () => {
  server = await fileServer([bytes])
  folder = await mkdtemp(join(tmpdir(), 'foretoken-limits-'))
})
afterEach(async () => {
  await server.close()
  await rm(folder, { recursive: true, force: true })
})

const target = () => join(folder, 'm.gguf')
const get = (change: Partial<DownloadRequest> = {}) =>
  download({ url: server.url, target: target(), tries: 2, backoffMs: 1, ...change })

describe('a file of unknown size', () => {
  test('may have exactly as many bytes as the limit', async () => {
    for (const length of ['told', 'chunked'] as const) {
      server.script([{ length }])
      await get({ maxBytes: bytes.length })
      expect(Buffer.compare(readFileSync(target()), bytes)).toBe(0)
      await rm(target())
      await expect(get({ maxBytes: bytes.length - 1 })).rejects.toMatchObject({
        code: 'network',
        message: expect.stringContaining('--max-download'),
      })
    }
  })

  test.each(['chunked', 'close'] as const)('that is endless (%s) is fetched up to the limit once', async (length) => {
    server.script([{ length, endless: true }])
    await expect(get({ maxBytes: 3e6 })).rejects.toMatchObject({ code: 'network' })
    expect(server.sent()).toBeLessThan(30e6)
    expect(readdirSync(folder)).toEqual([])
  })

  test('that is endless once decompressed is fetched up to the limit, too', async () => {
    const zeros = await fileServer([new Uint8Array(50e6)], [{ gzip: true }])
    await expect(get({ url: zeros.url, maxBytes: 3e6 })).rejects.toMatchObject({ code: 'network' })
    expect(readdirSync(folder)).toEqual([])
    await zeros.close()
  })
})

test('a promised size is a limit', async () => {
  server.script([{ length: 'chunked', endless: true }])
  await expect(get({ size: 1e6, maxBytes: 10 })).rejects.toMatchObject({ code: 'checksum' })
  server.script([{}])
  await get({ size: bytes.length, maxBytes: 10 })
})

describe('the disk', () => {
  const total = 100e9
  const reserve = reserveOf(total)

  test('keeps its reserve: a file that would exceed it is refused before it is written', async () => {
    const space = async () => ({ total, free: bytes.length + reserve - 1 })
    await expect(get({ space })).rejects.toMatchObject({ code: 'disk_full' })
    expect(existsSync(target())).toBe(false)
    await get({ space: async () => ({ total, free: bytes.length + reserve }) })
  })

  test('is checked while a file without a length is written', async () => {
    server.script([{ length: 'chunked', endless: true }])
    let free = reserve + 60e6
    const space = async () => ({ total, free: (free -= 16e6) })
    await expect(get({ space })).rejects.toMatchObject({ code: 'disk_full', message: /free some space/ })
    expect(server.sent()).toBeLessThan(150e6)
  })

  test.each([
    [1e9, 2e7],
    [1e8, 8e6],
    [1e13, 512e6],
  ])('of %d bytes reserves %d', (total, reserve) => expect(reserveOf(total)).toBe(reserve))
})

describe('a server that sends', () => {
  const drip = async (piece: number, pauseMs: number) => {
    const slow = http.createServer((_, response) => {
      response.writeHead(200, { 'content-length': 1e6, etag: '"1"' })
      const timer = setInterval(() => response.write(new Uint8Array(piece)), pauseMs)
      response.on('close', () => clearInterval(timer))
    })
    await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve))
    return { url: `http://127.0.0.1:${(slow.address() as AddressInfo).port}/m.gguf`, slow }
  }

  test('a byte now and then is abandoned', async () => {
    const { url, slow } = await drip(1, 20)
    await expect(get({ url, stallMs: 400, tries: 2 })).rejects.toMatchObject({
      code: 'network',
      message: expect.stringContaining('fewer than 1000 bytes'),
    })
    slow.closeAllConnections()
    slow.close()
  })
})
