/**
 * Runs `npm run check:words [-- PAIRS]`: with two keys of one running server, checks whether the
 * second learns from `server-timing` which words the first has sent. Needs smollm2-135m (`foretoken
 * pull smollm2-135m`). Exits with 1 where the area under the curve leaves .45 to .55.
 */
import { createApp } from '../../edge/index.ts'
import { loadEngine } from '../../node/index.ts'
import { ask } from '../helpers/ask.ts'
import { testConfig, testKeys } from '../helpers/tiny-server.ts'
import { wordTiming } from './word-timing.ts'

const pairs = Number(process.argv[2] ?? 200)
const engine = await loadEngine('smollm2-135m', { context: 1024 })
const app = createApp({ engine, config: testConfig })
const keys = { a: testKeys.one, b: testKeys.two }
try {
  const result = await wordTiming(async (tenant, content) => {
    const body = { model: engine.archive.name, messages: [{ role: 'user', content }], max_tokens: 1, temperature: 0 }
    const response = await ask(app, body, { key: keys[tenant] })
    const time = /tokenize;dur=([\d.]+)/.exec(response.headers.get('server-timing') ?? '')
    await response.text()
    if (!time) throw new Error(`status ${response.status}, and no time of tokenizing`)
    return Number(time[1])
  }, pairs)
  console.log(result)
  process.exitCode = result.auc < 0.45 || result.auc > 0.55 ? 1 : 0
} finally {
  await engine.close()
}
