/** `foretoken serve` with several models: loaded at their first use, by name, and what is refused before. */
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
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
  truncateSync(path('broken.gguf'), 1000)
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
  ['a broken one', () => ['-m', path('one.gguf'), '-m', path('broken.gguf')], 1, /broken\.gguf.*bad_model/],
])('refuses %s before it serves', async (_, args, code, message) => {
  const { got, ended } = serve(...args())
  expect([await ended, got.out]).toEqual([code, ''])
  expect(got.err).toMatch(message)
})

test('one model named twice is one', () => {
  expect(namesOf(['a/b.gguf', 'smollm2-135m', 'a/b.gguf'])).toEqual([
    { model: 'a/b.gguf', name: 'b' },
    { model: 'smollm2-135m', name: 'smollm2-135m' },
  ])
})
