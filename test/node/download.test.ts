import { existsSync, readdirSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { download } from '../../node/download.ts'
import { type MockHub, mockHub, revision, sha256 } from '../helpers/mock-hub.ts'
import { random } from '../helpers/random.ts'

const bytes = random(3).bytes(300_000)
let hub: MockHub
let folder: string

beforeEach(async () => {
  hub = await mockHub('o/m', { 'm.gguf': bytes })
  folder = await mkdtemp(join(tmpdir(), 'foretoken-download-'))
})
afterEach(async () => {
  await hub.close()
  await rm(folder, { recursive: true, force: true })
})

const target = () => join(folder, 'm.gguf')
const get = (change: Partial<Parameters<typeof download>[0]> = {}) =>
  download({
    url: `${hub.url}/o/m/resolve/${revision}/m.gguf`,
    target: target(),
    size: bytes.length,
    sha256: sha256(bytes),
    tries: 3,
    backoffMs: 1,
    ...change,
  })

/** Whatever failed, the name belongs to a complete file or to none. */
const nothingHalfWritten = () => expect(existsSync(target())).toBe(false)

describe('download', () => {
  test('fetches the file, reports progress, and leaves nothing else', async () => {
    const progress: number[] = []
    await get({ onProgress: (done) => progress.push(done) })
    expect(new Uint8Array(await readFile(target()))).toEqual(bytes)
    expect(progress.at(-1)).toBe(bytes.length)
    expect([...progress]).toEqual([...progress].sort((a, b) => a - b))
    expect(readdirSync(folder)).toEqual(['m.gguf'])
    await get()
    expect(hub.requests).toHaveLength(1)
  })

  test('resumes after each interruption', async () => {
    hub.behaviour.cutAfter = 70_000
    await get()
    expect(new Uint8Array(await readFile(target()))).toEqual(bytes)
    expect(hub.requests.length).toBeGreaterThan(3)
    expect(hub.requests.slice(1).every((range) => range.startsWith('bytes='))).toBe(true)
  })

  test('resumes in a later run', async () => {
    hub.behaviour.cutAfter = 100_000
    await expect(get({ tries: 1 })).rejects.toMatchObject({ code: 'network' })
    nothingHalfWritten()
    delete hub.behaviour.cutAfter
    await get()
    expect(hub.requests.at(-1)).toMatch(/^bytes=[1-9]\d*-$/)
    expect(new Uint8Array(await readFile(target()))).toEqual(bytes)
  })

  test('restarts when the file has changed meanwhile', async () => {
    hub.behaviour.cutAfter = 100_000
    await expect(get({ tries: 1 })).rejects.toMatchObject({ code: 'network' })
    delete hub.behaviour.cutAfter
    const other = random(4).bytes(bytes.length)
    hub.put('m.gguf', other)
    await get({ sha256: sha256(other) })
    expect(new Uint8Array(await readFile(target()))).toEqual(other)
  })

  test('restarts when the partial file on disk was altered', async () => {
    hub.behaviour.cutAfter = 100_000
    await expect(get({ tries: 1 })).rejects.toMatchObject({ code: 'network' })
    delete hub.behaviour.cutAfter
    await writeFile(`${target()}.part`, new Uint8Array(50_000))
    await get()
    expect(new Uint8Array(await readFile(target()))).toEqual(bytes)
  })

  test('a server without ranges is read from the start again', async () => {
    hub.behaviour.cutAfter = 100_000
    await expect(get({ tries: 1 })).rejects.toMatchObject({ code: 'network' })
    delete hub.behaviour.cutAfter
    hub.behaviour.noRanges = true
    await get()
    expect(new Uint8Array(await readFile(target()))).toEqual(bytes)
  })

  test('wrong bytes are discarded', async () => {
    hub.behaviour.corrupt = true
    await expect(get()).rejects.toMatchObject({ code: 'checksum' })
    nothingHalfWritten()
    expect(readdirSync(folder).filter((file) => file.endsWith('.part'))).toEqual([])
  })

  test.each([
    [404, 'not_found'],
    [401, 'not_found'],
    [418, 'network'],
  ])('status %i is final', async (code, expected) => {
    hub.behaviour.status = { code, times: 9 }
    await expect(get()).rejects.toMatchObject({ code: expected })
    expect(hub.requests).toHaveLength(1)
    nothingHalfWritten()
  })

  test.each([429, 500, 503])('status %i is retried', async (code) => {
    hub.behaviour.status = { code, times: 2 }
    await get()
    expect(hub.requests).toHaveLength(3)
  })

  test('a stalled connection is abandoned and retried', async () => {
    hub.behaviour.stallAfter = 0
    await expect(get({ tries: 2, stallMs: 100, connectMs: 100 })).rejects.toMatchObject({ code: 'network' })
    expect(hub.requests).toHaveLength(2)
    nothingHalfWritten()
    hub.behaviour.stallAfter = 120_000
    await get({ tries: 2, stallMs: 100 })
    expect(new Uint8Array(await readFile(target()))).toEqual(bytes)
  })

  test('an unreachable server', async () => {
    await expect(get({ url: 'http://127.0.0.1:9/m.gguf', tries: 2 })).rejects.toMatchObject({ code: 'network' })
  })

  test('a cancelled download keeps what has arrived, and does not create the target', async () => {
    hub.behaviour.stallAfter = 100_000
    const controller = new AbortController()
    const run = get({ signal: controller.signal, onProgress: (done) => done >= 60_000 && controller.abort() })
    await expect(run).rejects.toMatchObject({ code: 'aborted' })
    nothingHalfWritten()
    expect(existsSync(`${target()}.part`)).toBe(true)
  })

  test('two concurrent downloads fetch the file once', async () => {
    await Promise.all([get(), get()])
    expect(new Uint8Array(await readFile(target()))).toEqual(bytes)
    expect(hub.requests).toHaveLength(1)
  })
})
