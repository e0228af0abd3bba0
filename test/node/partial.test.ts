/** Two processes that fetch one file, and the partial of a stopped process. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type DownloadRequest, download } from '../../node/download.ts'
import { self } from '../../node/lock.ts'
import { type FileServer, fileServer } from '../helpers/file-server.ts'
import { random } from '../helpers/random.ts'

const bytes = random(8).bytes(400_000)
const module = fileURLToPath(new URL('../../node/download.ts', import.meta.url))
let server: FileServer
let folder: string
let children: ChildProcess[]

beforeEach(async () => {
  server = await fileServer([bytes])
  folder = await mkdtemp(join(tmpdir(), 'foretoken-partial-'))
  children = []
})
afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  await server.close()
  rmSync(folder, { recursive: true, force: true })
})

const target = () => join(folder, 'm.gguf')
const isRight = () => expect(Buffer.compare(readFileSync(target()), bytes)).toBe(0)
const parts = () => readdirSync(folder).filter((name) => name.endsWith('.part'))
const get = (change: Partial<DownloadRequest> = {}) =>
  download({ url: server.url, target: target(), tries: 2, backoffMs: 1, ...change })

/** Downloads in a process of its own. `whatever` removes its lock, as if others did not see it. */
async function begin(whatever = false): Promise<ChildProcess> {
  const request = { url: server.url, target: target(), tries: 1, stallMs: 20_000, backoffMs: 1 }
  const code = `import { download } from ${JSON.stringify(module)}; await download(${JSON.stringify(request)})`
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', code]
  const child = spawn(process.execPath, args, { stdio: 'inherit' })
  children.push(child)
  // Waits until its first bytes are on disk.
  await until(() => parts().some((name) => statSync(join(folder, name)).size >= 150_000))
  if (whatever) rmSync(`${target()}.lock`, { force: true })
  return child
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 20))
}

test("two processes that do not see each other's lock both fetch the whole file, also if one is paused", async () => {
  server.script([{ stall: 0.4, etag: 'none' }, { etag: 'none' }])
  const child = await begin(true)
  child.kill('SIGSTOP')
  await get()
  isRight()
  child.kill('SIGCONT')
  child.kill('SIGTERM')
  await once(child, 'exit')
  isRight()
})

test('the partial file of a killed process is resumed', async () => {
  server.script([{ stall: 0.4 }])
  const child = await begin()
  // Bytes count from the first sync on.
  const [part] = parts()
  await until(() => {
    try {
      return JSON.parse(readFileSync(join(folder, `${part}.json`), 'utf8')).have >= 0
    } catch {
      return false
    }
  })
  child.kill('SIGKILL')
  await once(child, 'exit')
  const note = JSON.parse(readFileSync(join(folder, `${part}.json`), 'utf8'))
  writeFileSync(join(folder, `${part}.json`), JSON.stringify({ ...note, have: 160_000 }))
  server.script([{}])
  await get()
  isRight()
  expect(server.ranges.at(-1)).toBe('bytes=160000-')
  expect(readdirSync(folder)).toEqual(['m.gguf'])
})

test('bytes without a matching note are not resumed: after a power cut they may be zeros', async () => {
  server.script([{ stall: 0.4 }])
  const child = await begin()
  child.kill('SIGKILL')
  await once(child, 'exit')
  const [part] = parts()
  const note = JSON.parse(readFileSync(join(folder, `${part}.json`), 'utf8'))
  writeFileSync(join(folder, `${part}.json`), JSON.stringify({ ...note, have: 100_000 }))
  const spoiled = readFileSync(join(folder, part!)).fill(0, 100_000)
  writeFileSync(join(folder, part!), spoiled)
  server.script([{}])
  await get()
  isRight()
})

test('a partial file of a process that cannot be checked is copied once idle, and never written', async () => {
  const part = join(folder, 'm.gguf.0123abcd.part')
  const etag = (await fetch(server.url)).headers.get('etag')!
  const note = (have: number) => {
    const version = { etag, strong: true }
    const owner = { ...self(), space: 'another machine' }
    const ino = String(statSync(part).ino)
    writeFileSync(`${part}.json`, JSON.stringify({ url: server.url, version, size: bytes.length, have, ino, owner }))
  }
  writeFileSync(part, bytes.subarray(0, 120_000))
  note(120_000)
  await get()
  isRight()
  expect(server.ranges.at(-1)).toBe('')
  expect(existsSync(part)).toBe(true)
  rmSync(target())
  utimesSync(part, new Date(Date.now() - 60_000), new Date(Date.now() - 60_000))
  await get()
  isRight()
  expect(server.ranges.at(-1)).toBe('bytes=120000-')
  expect(existsSync(part)).toBe(false)
})

test.each([
  ['another file', (note: object) => ({ ...note, ino: '1' })],
  ['another address', (note: object) => ({ ...note, url: 'http://127.0.0.1:9/' })],
  ['more bytes than there are', (note: object) => ({ ...note, have: 390_000 })],
  ['fewer bytes than none', (note: object) => ({ ...note, have: -1 })],
  ['nothing', () => null],
])('a partial file whose note has %s is not resumed', async (_, change) => {
  server.script([{ stall: 0.4 }])
  await expect(get({ tries: 1, stallMs: 200 })).rejects.toMatchObject({ code: 'network' })
  const path = `${target()}.part.json`
  writeFileSync(path, JSON.stringify(change(JSON.parse(readFileSync(path, 'utf8')))))
  server.script([{}])
  await get()
  isRight()
  expect(server.ranges.at(-1)).toBe('')
  expect(readdirSync(folder)).toEqual(['m.gguf'])
})

test('a waiting process reports the holder, and continues alone when the holder is idle', async () => {
  writeFileSync(`${target()}.lock`, JSON.stringify({ pid: 1, space: 'another machine', started: '', token: 'x' }))
  const said: string[] = []
  await get({ onWait: (holder) => said.push(holder) })
  isRight()
  expect(said).toEqual(['process 1'])
})

test('a process killed while it waits for an answer leaves nothing permanent', async () => {
  const silent = createServer(() => {})
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  const asked = once(silent, 'request')
  const url = `http://127.0.0.1:${(silent.address() as AddressInfo).port}/m.gguf`
  const code = `import { download } from ${JSON.stringify(module)}; await download(${JSON.stringify({ url, target: target() })})`
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', code])
  children.push(child)
  await asked
  expect(parts()).toHaveLength(1)
  child.kill('SIGKILL')
  await once(child, 'close')
  await get()
  isRight()
  expect(readdirSync(folder)).toEqual(['m.gguf'])
  silent.closeAllConnections()
  await new Promise((resolve) => silent.close(resolve))
})
