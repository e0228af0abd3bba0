/** OpenAI's Python client, unmodified, against Node's server. It comes from PyPI the first time. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { createApp, serveNode } from '../../edge/node.ts'
import { pythonWith } from '../../scripts/python.mjs'
import { testConfig, testKeys, tinyEngine } from '../helpers/tiny-server.ts'

const script = fileURLToPath(new URL('hosts/client.py', import.meta.url))
const python = programs()
const engine = await tinyEngine()
const app = createApp({ engine, config: { ...testConfig, models: ['tiny'] } })
const serving = await serveNode({ fetch: app.fetch, port: 0 })
afterAll(async () => {
  await serving.close()
  await engine.close()
})

if (typeof python === 'string') test(`skipped: ${python}`, () => {})
else
  test('chats, completions, responses, streams and refusals', async () => {
    const { stdout } = await promisify(execFile)(python('python'), [script, serving.url, testKeys.one])
    const seen = JSON.parse(stdout)
    expect(seen).toMatchObject({
      models: ['tiny'],
      finish: 'length',
      usage: 24,
      prefill: 'exact',
      streamed: seen.whole,
      streamed_usage: 24,
      response_streamed: seen.response,
      response_last: 'response.incomplete',
      text_tokens: 5,
      unknown_model: [404, 'model_not_found', 'model'],
      stranger: 401,
    })
    expect(seen.whole).not.toBe('')
    expect(seen.tools).toEqual([400, expect.any(String), 'tools[1]'])
  })

/** Why it can't be had, where it can't. */
function programs(): ((program: string) => string) | string {
  try {
    return pythonWith('openai', '3.54.0')
  } catch (error) {
    return String(error)
  }
}
