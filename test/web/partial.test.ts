/**
 * Downloads that break, resume, and whose source changes keep one complete file, whatever the
 * server does.
 */
import { createHash } from 'node:crypto'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { fetchPart, mostBytes, sweep, type Wanted } from '../../web/partial.ts'
import { type Fetching, fetchFile } from '../../web/store.ts'
import { fetchUnknown } from '../../web/unknown.ts'
import { type FakeFolder, fakeFolder } from '../helpers/opfs.ts'
import fc from '../helpers/properties.ts'
import { random } from '../helpers/random.ts'

const here = 'https://page.example'
const elsewhere = 'https://models.example'

beforeEach(() => {
  vi.stubGlobal('self', { location: { origin: here } })
})
afterEach(() => vi.unstubAllGlobals())

/** The server's behaviour on a request. */
interface Behaviour {
  readonly ranges: boolean
  readonly heedsIfRange: boolean
  readonly tag: 'strong' | 'weak' | 'none'
  readonly modified: boolean
  readonly tellsRange: boolean
  readonly tellsLength: boolean
  /** Breaks off after this many bytes. */
  readonly cut: number | undefined
  readonly status: 200 | 500
}

const honest: Behaviour = {
  ranges: true,
  heedsIfRange: true,
  tag: 'strong',
  modified: true,
  tellsRange: true,
  tellsLength: true,
  cut: undefined,
  status: 200,
}

const behaviour: fc.Arbitrary<Behaviour> = fc.record({
  ranges: fc.boolean(),
  heedsIfRange: fc.boolean(),
  tag: fc.constantFrom('strong' as const, 'strong' as const, 'weak' as const, 'none' as const),
  modified: fc.boolean(),
  tellsRange: fc.boolean(),
  tellsLength: fc.boolean(),
  cut: fc.option(fc.nat(300), { nil: undefined }),
  status: fc.constantFrom(200 as const, 200 as const, 200 as const, 500 as const),
})

function server() {
  const state = { file: new Uint8Array(), version: 0, behaviour: honest, requests: [] as Headers[], sent: 0 }
  vi.stubGlobal('fetch', async (_: URL, init: RequestInit = {}) => {
    const headers = new Headers(init.headers)
    state.requests.push(headers)
    const { file, version, behaviour: does } = state
    if (does.status === 500) return new Response('oh', { status: 500 })
    const etag = does.tag === 'none' ? undefined : `${does.tag === 'weak' ? 'W/' : ''}"${version}"`
    const [, begin] = /^bytes=(\d+)-$/.exec(headers.get('range') ?? '') ?? []
    const stale = does.heedsIfRange && headers.has('if-range') && headers.get('if-range') !== etag
    const from = begin === undefined || !does.ranges || stale ? 0 : Number(begin)
    const ranged = begin !== undefined && does.ranges && !stale
    if (ranged && from >= file.length) return new Response(null, { status: 416 })
    const rest = file.subarray(from)
    const told = {
      'content-type': 'application/octet-stream',
      ...(etag && { etag }),
      ...(does.modified && { 'last-modified': `version ${version}` }),
      ...(does.tellsLength && { 'content-length': String(rest.length) }),
      ...(ranged && does.tellsRange && { 'content-range': `bytes ${from}-${file.length - 1}/${file.length}` }),
    }
    return new Response(bodyOf(rest, does.cut, state, init.signal), { status: ranged ? 206 : 200, headers: told })
  })
  return state
}

function bodyOf(
  bytes: Uint8Array,
  cut: number | undefined,
  state: { sent: number },
  signal?: AbortSignal | null,
): ReadableStream<Uint8Array> {
  let at = 0
  const end = Math.min(bytes.length, cut ?? Infinity)
  return new ReadableStream<Uint8Array>({
    pull(out) {
      if (signal?.aborted) return out.error(signal.reason)
      if (at < end) {
        const piece = bytes.slice(at, Math.min(end, at + 50))
        at += piece.length
        state.sent += piece.length
        return out.enqueue(piece)
      }
      if (end < bytes.length) out.error(new TypeError('network error'))
      else out.close()
    },
  })
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const versions = [200, 200, 137, 260].map((length, seed) => random(seed + 1).bytes(length))
const steps = fc.array(fc.tuple(fc.nat(versions.length - 1), behaviour), { maxLength: 8 })
const ignore = () => {}

test('a file of unknown hash arrives in one version, never a mixture', async () => {
  await fc.assert(
    fc.asyncProperty(steps, fc.constantFrom(here, elsewhere), async (history, origin) => {
      const state = server()
      const { handle, files } = fakeFolder()
      const wanted: Wanted = { name: 'a', url: new URL('/a', origin) }
      for (const [version, does] of [...history, [0, honest] as const]) {
        Object.assign(state, { version, file: versions[version], behaviour: does })
        const found = await fetchPart(handle, 'part', wanted, ignore).catch((error) => error)
        if (found instanceof Error) {
          expect(found).toMatchObject({ code: 'network' })
          continue
        }
        expect(Buffer.compare(files.get('part.bin')!.bytes, versions[version]!)).toBe(0)
        expect(found).toEqual({ bytes: versions[version]!.length, sha256: sha256(versions[version]!) })
      }
    }),
    { numRuns: 400 },
  )
})

test('a file of known hash arrives only in that version, as soon as the server has it', async () => {
  await fc.assert(
    fc.asyncProperty(steps, fc.constantFrom(here, elsewhere), behaviour, async (history, origin, last) => {
      const state = server()
      const { handle, files } = fakeFolder()
      const promised = { bytes: versions[0]!.length, sha256: sha256(versions[0]!) }
      const wanted: Wanted = { name: 'a', url: new URL('/a', origin), promised }
      // However the server tells of it, it gives it whole at last.
      for (const [version, does] of [...history, [0, { ...last, cut: undefined, status: 200 as const }] as const]) {
        Object.assign(state, { version, file: versions[version], behaviour: does })
        const found = await fetchPart(handle, 'part', wanted, ignore).catch((error) => error)
        if (found instanceof Error) expect(['network', 'checksum']).toContain((found as { code?: string }).code)
        else expect(found).toEqual(promised)
      }
      expect(Buffer.compare(files.get('part.bin')!.bytes, versions[0]!)).toBe(0)
    }),
    { numRuns: 400 },
  )
})

test('stored bytes are not sent again: every byte once, in as many parts as needed', async () => {
  const state = server()
  const { handle, files } = fakeFolder()
  Object.assign(state, { file: versions[3]! })
  const wanted: Wanted = { name: 'a', url: new URL('/a', here) }
  for (const cut of [70, 10, 100]) {
    state.behaviour = { ...honest, cut }
    await expect(fetchPart(handle, 'part', wanted, ignore)).rejects.toMatchObject({ code: 'network' })
  }
  state.behaviour = honest
  await fetchPart(handle, 'part', wanted, ignore)
  expect(state.sent).toBe(versions[3]!.length)
  expect(state.requests.map((headers) => headers.get('range'))).toEqual([null, 'bytes=70-', 'bytes=80-', 'bytes=180-'])
  expect(Buffer.compare(files.get('part.bin')!.bytes, versions[3]!)).toBe(0)
})

test('a part already complete, because the tab died before noting it, costs no request', async () => {
  const state = server()
  const { handle } = fakeFolder()
  Object.assign(state, { file: versions[0]! })
  const promised = { bytes: versions[0]!.length, sha256: sha256(versions[0]!) }
  const wanted: Wanted = { name: 'a', url: new URL('/a', here), promised }
  await fetchPart(handle, 'part', wanted, ignore)
  await fetchPart(handle, 'part', wanted, ignore)
  expect(state.requests).toHaveLength(1)
})

test.each(['', '{', '{"url": 7}', 'null', '[]', '{"url":"https://page.example/a","identity":null}'])(
  'a note that contains %j is ignored',
  async (note) => {
    const state = server()
    const { handle } = fakeFolder()
    Object.assign(state, { file: versions[0]!, behaviour: { ...honest, cut: 50 } })
    const wanted: Wanted = { name: 'a', url: new URL('/a', here) }
    await fetchPart(handle, 'part', wanted, ignore).catch(ignore)
    const out = await (await handle.getFileHandle('part.part')).createSyncAccessHandle()
    out.truncate(0)
    out.write(new TextEncoder().encode(note), { at: 0 })
    out.close()
    Object.assign(state, { file: versions[1]!, behaviour: honest })
    expect(await fetchPart(handle, 'part', wanted, ignore)).toMatchObject({ sha256: sha256(versions[1]!) })
  },
)

test('a file of the maximum length is accepted, a longer one is refused at once', async () => {
  const { checkLength } = await import('../../web/partial.ts')
  const wanted: Wanted = { name: 'a', url: new URL('/a', here) }
  expect(() => checkLength(wanted, mostBytes)).not.toThrow()
  expect(() => checkLength(wanted, mostBytes + 1)).toThrow(/more than 4294967296 bytes/)
  const promised = { ...wanted, promised: { bytes: 10, sha256: 'ab' } }
  expect(() => checkLength(promised, 10)).not.toThrow()
  expect(() => checkLength(promised, 11)).toThrow(/does not match its manifest \(11 bytes arrived/)
})

test('parts unused for a week are removed; younger, complete, open and requested ones stay', async () => {
  const folder = fakeFolder()
  const week = 7 * 86_400_000
  for (const name of ['old.bin', 'old.part', 'open.bin', 'wanted.bin', 'whole.bin', 'whole.ok'])
    await folder.handle.getFileHandle(name, { create: true })
  await (await folder.handle.getFileHandle('open.bin')).createSyncAccessHandle()
  folder.now = 1
  await folder.handle.getFileHandle('young.bin', { create: true })
  await sweep(folder.handle, 'wanted', week)
  expect(folder.files.size).toBe(7)
  await sweep(folder.handle, 'wanted', week + 1)
  expect([...folder.files.keys()]).toEqual(['open.bin', 'wanted.bin', 'whole.bin', 'whole.ok', 'young.bin'])
})

const fetching: Fetching = { onProgress: ignore, signal: new AbortController().signal, beforeMemory: async () => {} }

function browserWith(folder: FakeFolder): void {
  const getDirectory = async () => ({ getDirectoryHandle: async () => folder.handle })
  vi.stubGlobal('navigator', { storage: { getDirectory } })
}

test('when the disk fills up in the middle, the file is still delivered, and not kept', async () => {
  const state = server()
  const folder = fakeFolder()
  browserWith(folder)
  Object.assign(state, { file: versions[0]! })
  folder.quota = 220
  const file = { name: 'a', url: 'a', bytes: versions[0]!.length, sha256: sha256(versions[0]!) }
  const unloads: string[] = []
  const beforeMemory = async () => void unloads.push('unload')
  const fetched = await fetchFile(file, { ...fetching, beforeMemory, base: `${here}/` })
  // The model in memory is unloaded before the new bytes are held.
  expect(unloads).toEqual(['unload'])
  expect(fetched.kept).toMatch(/too little storage/)
  const into = new Uint8Array(file.bytes)
  await fetched.source.read(0, into)
  expect(sha256(into)).toBe(file.sha256)
  expect([...folder.files.values()].filter(({ held }) => held)).toEqual([])
  // With free space again it resumes from what was kept.
  folder.quota = Infinity
  expect((await fetchFile(file, { ...fetching, base: `${here}/` })).kept).toBe(true)
  expect(state.requests.at(-1)!.get('range')).toMatch(/^bytes=[1-9]/)
})

test('one file from two addresses is kept once, and found by its hash while it is open', async () => {
  const state = server()
  const folder = fakeFolder()
  browserWith(folder)
  Object.assign(state, { file: versions[0]! })
  const first = await fetchUnknown(new URL('/a', here), fetching)
  const second = await fetchUnknown(new URL('/b', here), fetching)
  expect([first.kept, second.kept, second.sha256]).toEqual([true, true, first.sha256])
  expect([...folder.files.keys()].sort()).toEqual([`${first.sha256}.bin`, `${first.sha256}.ok`])
  const into = new Uint8Array(second.bytes)
  await second.source.read(0, into)
  expect(sha256(into)).toBe(first.sha256)
})

test('a cancelled download ends, keeps what has arrived, and is not repeated in memory', async () => {
  const state = server()
  const folder = fakeFolder()
  browserWith(folder)
  Object.assign(state, { file: versions[0]! })
  const control = new AbortController()
  const file = { name: 'a', url: 'a', bytes: versions[0]!.length, sha256: sha256(versions[0]!) }
  const cancelling = { ...fetching, base: `${here}/`, signal: control.signal, onProgress: () => control.abort() }
  await expect(fetchFile(file, cancelling)).rejects.toThrow()
  expect(state.requests).toHaveLength(1)
  expect(folder.files.get(`${file.sha256}.bin`)?.held).toBe(false)
  expect(folder.files.has(`${file.sha256}.ok`)).toBe(false)
  // Cancelled before it begins, nothing is asked for.
  await expect(fetchFile(file, cancelling)).rejects.toThrow()
  expect(state.requests).toHaveLength(1)
})
