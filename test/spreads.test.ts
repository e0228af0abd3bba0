/** A list that is spread into a call lies on the stack: one that a stranger may make long overflows it. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { sourceFiles } from './helpers/imports.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const spread = /\b(?:push|unshift|splice|max|min|fromCharCode|fromCodePoint|concat)\((?:[^(){}]*, )?\.\.\.[^\n]*/g
/** Where texts, ids and bodies of strangers go through. */
const folders = ['src/tokens', 'src/stream', 'edge', 'companion', 'workers']

test('in files that handle external lists, none is spread into a call', () => {
  const files = folders.flatMap((folder) => sourceFiles(root, [folder]))
  expect(files.length).toBeGreaterThan(50)
  const found = files.flatMap((file) =>
    (readFileSync(new URL(`../${file}`, import.meta.url), 'utf8').match(spread) ?? []).map(
      (call) => `${file}: ${call}`,
    ),
  )
  expect(found).toEqual([])
})

test('a spread is detected', () => {
  for (const call of ['ids.push(...all)', 'Math.max(-1, ...lengths)', 'String.fromCharCode(...units)'])
    expect(call).toMatch(spread)
  expect('this.events.push({ ...token })').not.toMatch(spread)
})
