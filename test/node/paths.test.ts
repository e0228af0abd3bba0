import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve, sep } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { checkFileName, pathInside, placeInside, safePath } from '../../node/paths.ts'
import fc from '../helpers/properties.ts'

let folder: string
let root: string
let outside: string
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'foretoken-paths-')))
  root = join(folder, 'root')
  outside = join(folder, 'outside')
  mkdirSync(join(root, 'a'), { recursive: true })
  mkdirSync(outside)
  writeFileSync(join(outside, 'victim'), 'x')
  writeFileSync(join(root, 'a', 'file'), 'x')
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

test.each([
  ...['', '.', '..', '../a', '/a', 'a/', 'a//b', './a', 'a/..', 'a/../..', 'a/./b'],
  ...['a\\b', '\\\\host\\share', 'C:a', 'C:/a', 'a:stream', 'a\0b', 'a\nb', 'a\x1bb', 'a\x7f', 'a\x9bb', '\ud800'],
  ...['a.', 'a ', 'a./b', '...', 'con', 'NUL', 'aux.gguf', 'Com1.txt', 'lpt9', 'com¹', 'CONIN$', 'prn .x'],
  ...['x'.repeat(256), 'é'.repeat(128), `${'x'.repeat(200)}/`.repeat(6)],
])('the name %j is refused', (name) => {
  expect(() => checkFileName(name)).toThrow(/refused/)
  expect(() => pathInside(root, 'a', name)).toThrow(/refused/)
})

test.each([
  'a',
  'a.gguf',
  'onnx/model.onnx',
  '.gitattributes',
  'a b',
  'ünïcode',
  'x'.repeat(255),
  'console',
  'a..b',
  '-a',
])('the name %j is accepted', (name) => expect(checkFileName(name)).toBe(name))

test('for any name the path lies inside the root', () => {
  const part = fc.oneof(fc.constantFrom('..', '.', '', 'a', 'NUL', '~', '%2e%2e', '..\\', 'C:'), fc.string())
  const name = fc
    .array(part, { maxLength: 5 })
    .chain((parts) => fc.constantFrom(parts.join('/'), `/${parts.join('/')}`))
  const property = fc.property(name, (text) => {
    let path: string
    try {
      path = pathInside(root, text)
    } catch {
      return
    }
    expect(resolve(path).startsWith(root + sep)).toBe(true)
  })
  fc.assert(property, { numRuns: 2000 })
})

test('a folder that is a link is refused if it leads out of the root', async () => {
  symlinkSync(outside, join(root, 'out'))
  symlinkSync(join(root, 'a'), join(root, 'in'))
  symlinkSync(join(folder, 'nothing'), join(root, 'dangling'))
  for (const name of ['out/x', 'out/new/x', 'dangling/x'])
    await expect(safePath(root, name)).rejects.toThrow(/by a link/)
  for (const name of ['in/x', 'a/x', 'new/folder/x', 'out']) expect(await safePath(root, name)).toBe(join(root, name))
})

test('a root may be a link', async () => {
  symlinkSync(root, join(folder, 'link'))
  expect(await safePath(join(folder, 'link'), 'a', 'x')).toBe(join(folder, 'link', 'a', 'x'))
  expect(await placeInside(join(folder, 'link'), join(folder, 'link', 'a', 'file'))).toEqual({
    root,
    link: join(root, 'a', 'file'),
    target: join(root, 'a', 'file'),
  })
})

test('a path from a record resolves below the root, or to nothing', async () => {
  symlinkSync(join(outside, 'victim'), join(root, 'a', 'link'))
  symlinkSync(outside, join(root, 'out'))
  for (const path of [
    join(outside, 'victim'),
    `${root}/a/../../outside/victim`,
    'root/a/file',
    root,
    `${root}x/a`,
    `${root}/a\0`,
  ])
    expect(await placeInside(root, path), path).toBeUndefined()
  expect(await placeInside(root, join(root, 'a', 'link'))).toEqual({
    root,
    link: join(root, 'a', 'link'),
    target: undefined,
  })
  expect(await placeInside(root, join(root, 'out', 'victim'))).toEqual({ root, link: undefined, target: undefined })
})
