/** The generator of `npm run fuzz:api`, some cases of it. */
import { expect, test } from 'vitest'
import { createApp } from '../../edge/index.ts'
import { testConfig, tinyEngine } from '../helpers/tiny-server.ts'
import { fuzzApi } from '../suites/api-fuzz.ts'

test('nulls, aliases and unknown fields are never a reason to refuse, and nothing causes a server error', async () => {
  const engine = await tinyEngine()
  try {
    const app = createApp({ engine, config: { ...testConfig, models: ['tiny'] } })
    const { statuses } = await fuzzApi(app, 300, 20261129)
    expect(statuses[200]).toBeGreaterThan(150)
    expect(engine.stats).toMatchObject({ running: 0, waiting: 0, pages_in_use: engine.stats.prefix_pages })
  } finally {
    await engine.close()
  }
})
