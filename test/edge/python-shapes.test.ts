/** OpenAI's Python client, unmodified, asks Node's server for shapes and gives it tools. It comes from PyPI the first time. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { createApp, serveNode } from '../../edge/node.ts'
import { loadGuides } from '../../node/guides.ts'
import { pythonWith } from '../../scripts/python.mjs'
import { testConfig, testKeys, tinyEngine } from '../helpers/tiny-server.ts'

const script = fileURLToPath(new URL('hosts/shapes.py', import.meta.url))
const python = programs()
const engine = await tinyEngine({ guides: loadGuides }, 2048)
const app = createApp({ engine, config: { ...testConfig, models: ['tiny'] } })
const serving = await serveNode({ fetch: app.fetch, port: 0 })
afterAll(async () => {
  await serving.close()
  await engine.close()
})

if (typeof python === 'string') test(`skipped: ${python}`, () => {})
else
  test('parsed answers and calls, whole and streamed, and a schema with a fault', async () => {
    const { stdout } = await promisify(execFile)(python('python'), [script, serving.url, testKeys.one])
    const seen = JSON.parse(stdout)
    expect(seen).toMatchObject({
      parsed: true,
      same: true,
      response: true,
      finish: 'tool_calls',
      call: ['Weather', true],
      same_call: true,
      last: [expect.stringMatching(/./s), null],
      refused: expect.stringContaining('/properties/a/type'),
    })
  })

/** Why it can't be had, where it can't. */
function programs(): ((program: string) => string) | string {
  try {
    return pythonWith('openai', '3.54.0')
  } catch (error) {
    return String(error)
  }
}
