/**
 * Records of pulled models: believed only as far as the files confirm them, and removed only within
 * our own folders.
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { pullFromHub } from '../../node/hub.ts'
import { modelFiles, pullModel } from '../../node/pull-model.ts'
import { filesFolder, findModel, listModels, removeModel, type StoredModel } from '../../node/store.ts'
import { type MockHub, mockHub, revision, sha256 } from '../helpers/mock-hub.ts'
import { stubCache } from '../helpers/own-cache.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

const bytes = tinyGguf()
let hub: MockHub
let folder: string
beforeEach(async () => {
  hub = await mockHub('owner/tiny', { 'tiny.gguf': bytes })
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'foretoken-store-')))
  stubCache(folder, hub.url)
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await hub.close()
  rmSync(folder, { recursive: true, force: true })
})

const name = 'hf:owner/tiny'
const recordOf = (model: string) => join(folder, 'home', 'models', `${filesFolder(model).split('/').at(-1)}.json`)

/** Writes a record as anybody could write it. */
function forge(model: string, ...paths: string[]): void {
  const files = paths.map((path) => ({ name: 'm.gguf', path, bytes: existsSync(path) ? statSync(path).size : 1 }))
  const record: StoredModel = { name: model, source: 'somewhere', files, pulled: '2026-01-01' }
  mkdirSync(dirname(recordOf(model)), { recursive: true })
  writeFileSync(recordOf(model), JSON.stringify(record))
}

/** Replaces a file with other bytes of the same length, and sets its times back. */
function spoil(path: string): void {
  const { atime, mtime } = statSync(path)
  writeFileSync(path, new Uint8Array(statSync(path).size).fill(7))
  utimesSync(path, atime, mtime)
}

describe('a pulled file that has changed', () => {
  test('is fetched again, wherever the change was made', async () => {
    const { path } = (await pullModel(name)).files[0]!
    spoil(path)
    expect(await findModel(name)).toBeUndefined()
    await pullModel(name)
    expect(Buffer.compare(readFileSync(path), bytes)).toBe(0)
    expect(hub.requests).toHaveLength(2)
    // A file in place of the link.
    rmSync(path)
    writeFileSync(path, new Uint8Array(bytes.length))
    await pullModel(name)
    expect(Buffer.compare(readFileSync(path), bytes)).toBe(0)
  })

  test('is not used where it cannot be fetched again', async () => {
    const { path } = (await pullModel(name)).files[0]!
    spoil(path)
    await expect(modelFiles(name, { offline: true })).rejects.toMatchObject({ code: 'offline' })
  })

  test('that came from an address without a hash is compared with its first download', async () => {
    const url = `${hub.url}/owner/tiny/resolve/${revision}/tiny.gguf`
    const { path } = (await pullModel(url)).files[0]!
    expect(await findModel(url)).toBeDefined()
    spoil(path)
    expect(await findModel(url)).toBeUndefined()
    await pullModel(url)
    expect(Buffer.compare(readFileSync(path), bytes)).toBe(0)
  })

  test('is hashed once, and again when only its times have changed', async () => {
    const { path } = (await pullModel(name)).files[0]!
    const before = readFileSync(recordOf(name), 'utf8')
    await findModel(name)
    expect(readFileSync(recordOf(name), 'utf8')).toBe(before)
    utimesSync(path, new Date(1e12), new Date(1e12))
    expect(await findModel(name)).toBeDefined()
    const after = readFileSync(recordOf(name), 'utf8')
    expect(after).not.toBe(before)
    expect(JSON.parse(after).files[0].hash).toBe(`sha256:${sha256(bytes)}`)
  })
})

describe('a cache filled by other programs', () => {
  const snapshot = () => join(folder, 'hf', 'hub', 'models--owner--tiny', 'snapshots', revision, 'tiny.gguf')

  test.each([
    ['the right bytes', () => bytes, 0],
    ['other bytes of the same length', () => new Uint8Array(bytes.length), 1],
  ])('is used if it holds %s', async (_, content, requests) => {
    mkdirSync(dirname(snapshot()), { recursive: true })
    writeFileSync(snapshot(), content())
    await pullModel(name)
    expect(Buffer.compare(readFileSync(snapshot()), bytes)).toBe(0)
    expect(hub.requests).toHaveLength(requests)
  })

  test('a blob whose bytes do not have its hash is replaced', async () => {
    const blob = join(folder, 'hf', 'hub', 'models--owner--tiny', 'blobs', sha256(bytes))
    mkdirSync(dirname(blob), { recursive: true })
    writeFileSync(blob, new Uint8Array(bytes.length))
    await pullModel(name)
    expect(Buffer.compare(readFileSync(blob), bytes)).toBe(0)
  })
})

test('a pinned name stands for one hash, whatever a record says', async () => {
  const path = join(filesFolder('smollm2-135m'), 'm.gguf')
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, bytes)
  forge('smollm2-135m', path)
  expect(await findModel('smollm2-135m', { sha256: sha256(bytes) })).toBeDefined()
  expect(await findModel('smollm2-135m', { sha256: 'a'.repeat(64) })).toBeUndefined()
  await expect(modelFiles('smollm2-135m', { offline: true })).rejects.toMatchObject({ code: 'offline' })
})

describe('removing', () => {
  const victim = () => {
    const path = join(folder, 'outside', 'victim.gguf')
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, bytes)
    return path
  }

  test('a record that names a path outside deletes only the record, and reports it', async () => {
    const path = victim()
    forge('evil', path, `${filesFolder('evil')}/../../../outside/victim.gguf`, join(folder, 'home', 'companion.key'))
    writeFileSync(join(folder, 'home', 'companion.key'), 'key')
    const left: string[] = []
    expect(await removeModel('evil', (path) => left.push(path))).toBe(0)
    expect(left).toHaveLength(3)
    expect(existsSync(path)).toBe(true)
    expect(existsSync(join(folder, 'home', 'companion.key'))).toBe(true)
    expect(existsSync(recordOf('evil'))).toBe(false)
  })

  test('a snapshot that links outside loses the link, not its target', async () => {
    const { path } = (await pullModel(name)).files[0]!
    const outside = victim()
    rmSync(path)
    symlinkSync(outside, path)
    await removeModel(name)
    expect(existsSync(path)).toBe(false)
    expect(existsSync(outside)).toBe(true)
  })

  test('folders that link outside are not followed', async () => {
    const outside = victim()
    const { path } = (await pullModel(name)).files[0]!
    rmSync(dirname(path), { recursive: true })
    symlinkSync(dirname(outside), dirname(path))
    forge(name, join(dirname(path), 'victim.gguf'))
    await removeModel(name)
    expect(existsSync(outside)).toBe(true)
    mkdirSync(dirname(filesFolder('evil')), { recursive: true })
    symlinkSync(dirname(outside), filesFolder('evil'))
    forge('evil', join(filesFolder('evil'), 'victim.gguf'))
    await removeModel('evil')
    expect(existsSync(outside)).toBe(true)
    expect(existsSync(filesFolder('evil'))).toBe(false)
  })

  test('other models keep their files: those of a record, another revision or another folder', async () => {
    const { path } = (await pullModel(name)).files[0]!
    const blob = realpathSync(path)
    const other = path.replace(revision, 'c'.repeat(40))
    mkdirSync(dirname(other))
    symlinkSync(blob, other)
    await removeModel(name)
    expect([existsSync(path), existsSync(other)]).toEqual([false, true])
    // A blob, a ref and a record are not files of a snapshot.
    forge('evil', blob, join(folder, 'hf', 'hub', 'models--owner--tiny', 'refs', 'main'))
    await removeModel('evil')
    expect(existsSync(other)).toBe(true)
    await pullModel(name)
    forge('second', other)
    await removeModel(name)
    expect(existsSync(other)).toBe(true)
  })
})

test('a record with another name, or with paths outside, is not a model', async () => {
  const path = join(folder, 'm.gguf')
  writeFileSync(path, bytes)
  forge('evil', path)
  expect([await findModel('evil'), await listModels()]).toEqual([undefined, []])
  forge(name, join(filesFolder(name), 'm.gguf'))
  writeFileSync(recordOf('other'), readFileSync(recordOf(name)))
  expect(await findModel('other')).toBeUndefined()
  await expect(removeModel('other')).rejects.toMatchObject({ code: 'not_found' })
})

describe('a malicious hub', () => {
  const lies = async (answer: (path: string, body: unknown) => unknown) => {
    hub.behaviour.answer = answer
    return pullFromHub({ repo: 'owner/tiny', revision: 'main', tries: 1 })
  }
  const info = (body: unknown, change: object) => (body as object[]).map((entry) => ({ ...entry, ...change }))

  test.each(['../../../../x', '..', 'main', 'A'.repeat(40), 'a'.repeat(39), '', 7, null])(
    'with the commit %j is refused',
    async (sha) => {
      const outside = join(folder, 'x')
      mkdirSync(outside)
      writeFileSync(join(outside, 'tiny.gguf'), 'mine')
      const run = lies((path, body) => (path.includes('/revision/') ? { ...(body as object), sha } : body))
      await expect(run).rejects.toMatchObject({ code: 'network', message: expect.stringContaining('40 hex digits') })
      expect(readFileSync(join(outside, 'tiny.gguf'), 'utf8')).toBe('mine')
    },
  )

  test.each(['../../../x.gguf', '/x.gguf', 'a\\..\\x.gguf', 'nul.gguf'])(
    'with the name %j is refused',
    async (path) => {
      const run = lies((at, body) => (at.includes('/tree/') ? info(body, { path }) : body))
      await expect(run).rejects.toMatchObject({ name: 'ForetokenError' })
      expect(existsSync(join(folder, 'hf', 'hub'))).toBe(false)
    },
  )

  test.each([
    ['hash', { lfs: { oid: '../../x', size: 5 } }],
    ['git hash', { lfs: undefined, oid: '..' }],
    ['size', { lfs: { oid: 'b'.repeat(64), size: -1 } }],
    ['size', { lfs: { oid: 'b'.repeat(64), size: 1e300 } }],
  ])('with a %s is refused', async (_, change) => {
    const run = lies((at, body) => (at.includes('/paths-info/') ? info(body, change) : body))
    await expect(run).rejects.toMatchObject({ code: 'network' })
    expect(existsSync(join(folder, 'hf', 'hub'))).toBe(false)
  })

  test('with other files than requested adds nothing', async () => {
    const more = (body: unknown) => [...(body as object[]), ...info(body, { path: 'other.gguf' })]
    const files = await lies((at, body) => (at.includes('/paths-info/') ? more(body) : body))
    expect(files.map(({ name }) => name)).toEqual(['tiny.gguf'])
  })

  test('with an endless answer is refused', async () => {
    hub.behaviour.endless = true
    await expect(lies((_, body) => body)).rejects.toMatchObject({
      code: 'network',
      message: /more than|can't be reached/,
    })
  })

  test('or a cache whose folders link outside gets nothing written there', async () => {
    const outside = join(folder, 'outside')
    mkdirSync(outside)
    const repository = join(folder, 'hf', 'hub', 'models--owner--tiny')
    mkdirSync(repository, { recursive: true })
    symlinkSync(outside, join(repository, 'snapshots'))
    await expect(lies((_, body) => body)).rejects.toMatchObject({ code: 'bad_argument', message: /by a link/ })
    expect(existsSync(join(outside, revision))).toBe(false)
  })
})
