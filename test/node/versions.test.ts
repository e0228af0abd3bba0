/**
 * Downloads of a file that changes, from servers that answer ranges well or badly: the complete
 * right file, or an error.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { download } from '../../node/download.ts'
import { ForetokenError } from '../../src/index.ts'
import { type FileServer, fileServer, type Step } from '../helpers/file-server.ts'
import { sha256 } from '../helpers/mock-hub.ts'
import fc from '../helpers/properties.ts'
import { random } from '../helpers/random.ts'

/** Versions of one file: longer, shorter and equally long. */
const files = [100_000, 110_000, 60_000, 100_000].map((length, seed) => random(seed + 1).bytes(length))
let server: FileServer
let folder: string

beforeEach(async () => {
  server = await fileServer(files)
  folder = await mkdtemp(join(tmpdir(), 'foretoken-versions-'))
})
afterEach(async () => {
  await server.close()
  await rm(folder, { recursive: true, force: true })
})

const target = () => join(folder, 'm.gguf')
const get = (change: Partial<Parameters<typeof download>[0]> = {}) =>
  download({ url: server.url, target: target(), tries: 3, backoffMs: 1, ...change })
const has = async (version: number) => expect(Buffer.compare(await readFile(target()), files[version]!)).toBe(0)

describe('a file that is replaced while it is fetched', () => {
  /** A run that gets a part of the file. */
  const getPart = async (step: Step) => {
    server.script([{ ...step, stall: 0.4 }])
    await expect(get({ tries: 1, stallMs: 200 })).rejects.toMatchObject({ code: 'network' })
  }

  test.each([1, 2, 3])('is fetched again in a later run (version %i)', async (version) => {
    await getPart({})
    server.script([{ version }])
    await get()
    await has(version)
  })

  test.each<[string, Step, Step]>([
    ['sends its range under another ETag', {}, { ranges: 'blind' }],
    ['sends its range under no ETag', {}, { ranges: 'blind', etag: 'none' }],
    ['sends its range under the ETag made weak', {}, { ranges: 'blind', etag: 'weak' }],
    ['knows dates only', { etag: 'none', lastModified: 'old' }, { ranges: 'blind', etag: 'none', lastModified: 'old' }],
    ['sends another range', {}, { ranges: 'other' }],
  ])('is never spliced where the server %s', async (_, before, after) => {
    for (const version of [1, 2, 3]) {
      await rm(target(), { force: true })
      await getPart({ version: 0, ...before })
      server.script([{ version, ...after }, { version }])
      await get()
      await has(version)
    }
  })

  test.each<[string, Step]>([
    ['a weak ETag', { etag: 'weak' }],
    ['nothing', { etag: 'none' }],
    ['a date of this minute', { etag: 'none', lastModified: 'fresh' }],
  ])('is not resumed where %s gives its version', async (_, step) => {
    server.script([{ ...step, stall: 0.4 }, step])
    await get({ stallMs: 200 })
    await has(0)
    expect(server.ranges).toEqual(['', ''])
  })

  test('is resumed if its date is old enough, and always if the hash is known', async () => {
    const dated: Step = { etag: 'none', lastModified: 'old' }
    server.script([{ ...dated, stall: 0.4 }, dated])
    await get({ stallMs: 200 })
    await has(0)
    expect(server.ranges).toEqual(['', 'bytes=40000-'])
    await rm(target())
    server.script([{ etag: 'none', stall: 0.4 }, { etag: 'none' }])
    await get({ sha256: sha256(files[0]!), stallMs: 200 })
    await has(0)
    expect(server.ranges.at(-1)).toBe('bytes=40000-')
  })

  test('at every request is abandoned', async () => {
    const steps = Array.from({ length: 40 }, (_, n): Step => ({ version: n % 2, ranges: 'blind', stall: 0.4 }))
    server.script(steps)
    await expect(get({ stallMs: 100 })).rejects.toMatchObject({
      code: 'network',
      message: expect.stringContaining('replaced'),
    })
    expect(server.ranges.length).toBeLessThan(20)
    expect(existsSync(target())).toBe(false)
  })
})

describe('lengths', () => {
  test('of an encoded answer are not those of the file', async () => {
    server.script([{ gzip: true }])
    await get({ size: files[0]!.length })
    await has(0)
    await rm(target())
    await get()
    await has(0)
  })

  test('a file without a length is accepted if its end is recognisable, and refused if a truncation would look like an end', async () => {
    server.script([{ length: 'chunked', cut: 0.5 }, { length: 'chunked' }])
    await get()
    await has(0)
    await rm(target())
    server.script([{ length: 'close' }])
    await expect(get()).rejects.toMatchObject({ code: 'network', message: expect.stringContaining('#sha256=') })
    expect(readdirSync(folder)).toEqual([])
    await get({ sha256: sha256(files[0]!) })
    await has(0)
  })

  test('a file that differs from the promised one is final, and leaves nothing', async () => {
    await expect(get({ size: 99_999 })).rejects.toMatchObject({ code: 'checksum' })
    server.script([{ length: 'chunked' }])
    await expect(get({ size: 99_999 })).rejects.toMatchObject({ code: 'checksum' })
    await expect(get({ size: 100_001 })).rejects.toMatchObject({ code: 'network' })
    expect(existsSync(target())).toBe(false)
  })
})

test('a web page or an empty answer in place of the file is refused', async () => {
  server.script([{ type: 'text/html; charset=utf-8' }])
  await expect(get()).rejects.toMatchObject({ code: 'network', message: expect.stringContaining('web page') })
  const empty = await fileServer([new Uint8Array(0)])
  await expect(get({ url: empty.url })).rejects.toMatchObject({ code: 'checksum' })
  await get({ url: empty.url, size: 0 })
  expect(readFileSync(target())).toHaveLength(0)
  await empty.close()
})

test('a server that asks to wait is waited for, by seconds and by date', async () => {
  const waits: Step[] = [
    { status: 429, retryAfter: '1' },
    { status: 503, retryAfter: new Date(Date.now() + 2000).toUTCString() },
    {},
  ]
  server.script(waits)
  const begun = Date.now()
  await get()
  // A date counts whole seconds.
  expect(Date.now() - begun).toBeGreaterThanOrEqual(990)
  await has(0)
})

const often = <T>(usual: T, ...others: T[]) =>
  fc.oneof({ weight: 2 * others.length, arbitrary: fc.constant(usual) }, ...others.map((other) => fc.constant(other)))
const share = fc.integer({ min: 0, max: 99 }).map((percent) => percent / 100)

/**
 * Mostly honest about lengths and versions, because most runs would end at their first answer
 * otherwise.
 */
const answer = fc.record<Step>(
  {
    version: often(0, 1, 2, 3),
    etag: often('strong', 'weak', 'none'),
    lastModified: fc.constantFrom('old', 'fresh', 'none'),
    ranges: often('right', 'ignored', 'blind', 'other'),
    length: often('told', 'chunked', 'close'),
    gzip: often(false, true),
  },
  { requiredKeys: [] },
)
const broken = fc.oneof(
  share.map((cut): Step => ({ cut })),
  share.map((stall): Step => ({ stall })),
)
const refused = fc.constantFrom(302, 400, 416, 429, 500, 503).map((status): Step => ({ status }))
const steps = fc.array(
  fc.oneof(
    { weight: 2, arbitrary: answer },
    { weight: 4, arbitrary: fc.tuple(answer, broken).map(([one, other]): Step => ({ ...one, ...other })) },
    { weight: 1, arbitrary: refused },
  ),
  { minLength: 1, maxLength: 8 },
)

test('for any server a file is complete and of one version, or there is an error and no file', async () => {
  const counts = { whole: 0, failed: 0, continued: 0 }
  const property = fc.asyncProperty(steps, fc.constantFrom('nothing', 'size', 'hash'), async (script, known) => {
    await rm(folder, { recursive: true, force: true })
    server.versions.length = 0
    server.ranges.length = 0
    server.script(script)
    const expected =
      known === 'hash' ? { sha256: sha256(files[0]!) } : known === 'size' ? { size: files[0]!.length } : {}
    // A second run continues from what the first one left.
    for (const _ of [1, 2]) {
      await rm(target(), { force: true })
      try {
        await get({ ...expected, stallMs: 40, connectMs: 500 })
        counts.whole++
        const bytes = await readFile(target())
        const whole = files.findIndex((file) => Buffer.compare(bytes, file) === 0)
        expect(server.versions).toContain(whole)
        if (known === 'hash') expect(whole).toBe(0)
      } catch (error) {
        expect(error).toBeInstanceOf(ForetokenError)
        expect((error as ForetokenError).code).toMatch(/^(network|checksum|not_found)$/)
        expect(existsSync(target())).toBe(false)
        counts.failed++
      }
    }
    if (server.ranges.some((range) => range !== '')) counts.continued++
    expect(readdirSync(folder).filter((name) => name.endsWith('.lock'))).toEqual([])
  })
  await fc.assert(property, { numRuns: 60 })
  // The property is meaningful only if all of these happen.
  for (const [what, count] of Object.entries(counts)) expect(count, what).toBeGreaterThan(0)
})
