/** `foretoken serve` with several models: loaded at their first use, by name, and what is refused before. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { namesOf } from '../../cli/several.ts'
import { chatBody } from '../helpers/ask.ts'
import { postChat, startCli } from '../helpers/cli-process.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

let folder: string
const path = (name: string) => join(folder, name)
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'foretoken-several-'))
  for (const [seed, name] of ['one', 'two'].entries())
    writeFileSync(path(`${name}.gguf`), tinyGguf({ context: 1024, seed: seed + 1 }))
  mkdirSync(path('other'))
  writeFileSync(path('other/one.gguf'), tinyGguf())
  writeFileSync(path('broken.gguf'), tinyGguf())
  symlinkSync(path('one.gguf'), path('linked.gguf'))
  truncateSync(path('broken.gguf'), 1000)
  writeFileSync(path('small.gguf'), tinyGguf({ context: 256 }))
  writeFileSync(path('long.gguf'), tinyGguf({ context: 60_000_000, layers: 8, type: 'q8_0' }))
  const encoder = fileURLToPath(new URL('../vectors/tiny-bert-onnx', import.meta.url))
  for (const name of ['encoder', 'cut']) cpSync(encoder, path(name), { recursive: true })
  truncateSync(path('cut/onnx/model.onnx'), 40_000)
  writeFileSync(path('none.onnx'), 'version https://git-lfs.github.com/spec/v1\n')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const serve = (...args: readonly string[]) => startCli(['serve', '--port', '0', '--threads', '1', ...args])

test('loads each model when it is asked for, keeps as many as it may, and stops cleanly', async () => {
  const { child, got, ended, url } = serve(
    '-m',
    path('one.gguf'),
    '-m',
    path('two.gguf'),
    '--keep',
    '1',
    '--idle',
    '1h',
  )
  const at = await url()
  const states = async () => {
    const { data } = await (await fetch(`${at}/v1/models`)).json()
    return data.map(({ id, foretoken }: { id: string; foretoken: { state: string } }) => `${id} ${foretoken.state}`)
  }
  expect(await states()).toEqual(['one unloaded', 'two unloaded'])
  const answered = await Promise.all(
    ['one', 'two', 'one'].map(async (model) => (await (await postChat(at, chatBody({ model }))).json()).model),
  )
  expect(answered).toEqual(['one', 'two', 'one'])
  expect((await states()).filter((state: string) => state.endsWith(' loaded'))).toHaveLength(1)
  const unknown = await postChat(at, chatBody({ model: 'twoo' }))
  expect([unknown.status, (await unknown.json()).error.message]).toEqual([
    404,
    expect.stringContaining('nearest is two'),
  ])
  // The page offers both.
  const { models } = await (await fetch(`${at}/page/model.json`)).json()
  expect(models.map(({ name }: { name: string }) => name)).toEqual(['one', 'two'])
  expect((await fetch(`${at}/page/${models[1].files[0].url}`, { method: 'HEAD' })).status).toBe(200)
  child.kill('SIGTERM')
  expect(await ended).toBe(0)
  expect(got.err).toMatch(/one, two at http/)
  const lines = got.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(lines.filter(({ model }) => model === 'two')).toMatchObject([{ status: 200, load_ms: expect.any(Number) }])
})

test.each<[string, () => string[], number, RegExp]>([
  [
    'two of one name',
    () => ['-m', path('one.gguf'), '-m', path('other/one.gguf')],
    2,
    /are both called one: rename one/,
  ],
  [
    'a predictor, which is of one model',
    () => ['-m', path('one.gguf'), '-m', path('two.gguf'), '--predictor', 'p'],
    2,
    /--predictor belongs to one model/,
  ],
  [
    'no time',
    () => ['-m', path('one.gguf'), '--idle', 'soon'],
    2,
    /--idle takes a time such as 90s, 10m or 1h30m, not "soon"/,
  ],
  ['nothing to keep', () => ['-m', path('one.gguf'), '--keep', '0'], 2, /--keep takes integers from 1/],
  ['a model that is not there', () => ['-m', path('one.gguf'), '-m', 'nowhere'], 1, /no model "nowhere".*not_found/],
  [
    'two names of one file',
    () => ['-m', path('one.gguf'), '-m', path('linked.gguf')],
    2,
    /one\.gguf and .*linked\.gguf are the same model: name it once; \{"aliases": \{"linked": "one"\}\}/,
  ],
  [
    'a folder and its file',
    () => ['-m', path('other'), '-m', path('other/one.gguf')],
    2,
    /other and .*one\.gguf are the same model/,
  ],
  [
    'a context beyond one of them',
    () => ['-m', path('one.gguf'), '-m', path('small.gguf'), '-c', '512'],
    1,
    /context is 512; it must be a whole number from 2 to 256 for small\.gguf \(bad_argument\)/,
  ],
  [
    'a context beyond an ONNX model',
    () => ['-m', path('one.gguf'), '-m', path('encoder'), '-c', '512'],
    1,
    /context is 512; it must be a whole number from 2 to 128 for encoder \(bad_argument\)/,
  ],
  [
    // 480 GB.
    'a context beyond the memory, with the one that would fit',
    () => ['-m', path('long.gguf'), '--idle', '1h', '-c', '60000000'],
    1,
    /long takes about \d+ MB; \d+ MB are free, .*8192 bytes of K and V for each of its 60000000 tokens: load with a context of at most \d+,/,
  ],
  [
    'what one of them cannot compute',
    () => ['-m', path('one.gguf'), '-m', path('two.gguf'), '--attention', 'int'],
    1,
    /attention in integers is not possible/,
  ],
  [
    'a predictor that one of them does not have',
    () => ['-m', path('one.gguf'), '-m', path('two.gguf'), '--prefill', 'refined'],
    1,
    /includes no predictor for .*one\.gguf/,
  ],
  [
    'a backend that one of them cannot have',
    () => ['-m', path('encoder'), '-m', path('one.gguf'), '--backend', 'webgpu'],
    2,
    /--backend works only with the Rust core, and .*encoder is an ONNX model/,
  ],
  [
    'an ONNX model that was cut off',
    () => ['-m', path('one.gguf'), '-m', path('cut')],
    1,
    /cut\/onnx\/model\.onnx needs bytes 19\.\.\d+ of a file of 40000; the file may be cut off: get it again \(bad_model\)/,
  ],
  [
    'an ONNX model that is none, also alone',
    () => ['-m', path('none.onnx')],
    1,
    /none\.onnx is not a whole ONNX model: byte 0 begins no field/,
  ],
  [
    'a predictor for a model that comes later',
    () => ['-m', path('one.gguf'), '--idle', '1h', '--predictor', 'p'],
    2,
    /--predictor does not work with --keep and --idle/,
  ],
  ['a broken one', () => ['-m', path('one.gguf'), '-m', path('broken.gguf')], 1, /broken\.gguf.*bad_model/],
])('refuses %s before it serves', async (_, args, code, message) => {
  const { got, ended } = serve(...args())
  expect([await ended, got.out]).toEqual([code, ''])
  expect(got.err).toMatch(message)
})

test('a batch with several models checks each before the first answer', async () => {
  writeFileSync(path('in.jsonl'), `${JSON.stringify({ prompt: 'a', model: 'one' })}\n`)
  const args = ['batch', '-m', path('one.gguf'), '-m', path('small.gguf'), '-c', '512', '--threads', '1']
  const { got, ended } = startCli([...args, path('in.jsonl'), '-'])
  expect([await ended, got.out]).toEqual([1, ''])
  expect(got.err).toMatch(/from 2 to 256 for small\.gguf/)
})

test('an ONNX model tells the memory that it takes', async () => {
  const { child, ended, url } = serve('-m', path('encoder'), '-m', path('one.gguf'))
  const at = await url()
  const headers = { 'content-type': 'application/json' }
  const body = JSON.stringify({ model: 'encoder', input: 'a' })
  expect((await fetch(`${at}/v1/embeddings`, { method: 'POST', headers, body })).status).toBe(200)
  const { foretoken } = await (await fetch(`${at}/v1/models/encoder`)).json()
  expect(foretoken).toMatchObject({ state: 'loaded', memory_bytes: 148_276 })
  const { models } = await (await fetch(`${at}/api/ps`)).json()
  expect(models).toMatchObject([{ name: 'encoder:latest', size: 148_276 }])
  child.kill('SIGTERM')
  expect(await ended).toBe(0)
})

test('one model named twice is one', () => {
  expect(namesOf(['a/b.gguf', 'smollm2-135m', 'a/b.gguf'])).toEqual([
    { model: 'a/b.gguf', name: 'b' },
    { model: 'smollm2-135m', name: 'smollm2-135m' },
  ])
  // However its path is written.
  expect(namesOf([path('one.gguf'), join(folder, 'other', '..', '.', 'one.gguf')])).toHaveLength(1)
  expect(namesOf([path('one.gguf'), `${folder}//one.gguf`])).toHaveLength(1)
})
