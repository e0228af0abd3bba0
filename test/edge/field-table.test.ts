/** The table of fields in docs/server.md is what the schemas say. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { serverPage } from '../../scripts/server-docs.mjs'

test('docs/server.md lists every field as it is handled', () => {
  const page = readFileSync(new URL('../../docs/server.md', import.meta.url), 'utf8')
  expect(page === serverPage(), 'run npm run docs:server').toBe(true)
  expect(page).toContain('| `seed` | honoured | honoured | honoured |')
  expect(page).toContain('| `response_format` | honoured | honoured |')
  expect(page).toContain('| `input` | honoured |  | A text, several')
  expect(page).toContain('| `documents` |  | honoured | Also `texts`.')
  expect(page).toContain('| `user` | accepted | accepted | accepted |')
})
