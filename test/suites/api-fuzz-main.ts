/** Runs the first half of `npm run fuzz:api`: see scripts/fuzz-api.mjs. */
import { createApp } from '../../edge/index.ts'
import { testConfig, tinyEngine } from '../helpers/tiny-server.ts'
import { fuzzApi } from './api-fuzz.ts'

const [cases = 5000, seed = Date.now() % 2 ** 31] = process.argv.slice(2).map(Number)
const engine = await tinyEngine()
const app = createApp({
  engine,
  config: {
    ...testConfig,
    models: ['tiny'],
    keys: testConfig.keys!.map((key) => ({ ...key, requestsPerMinute: 10_000_000 })),
    limits: { refusedBytesPerMinute: 2 ** 40 },
  },
})
console.log(`seed ${seed}`)
console.log(JSON.stringify(await fuzzApi(app, cases, seed)))
await engine.close()
