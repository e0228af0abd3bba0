/**
 * `npm run soak -- [REQUESTS] [SEED]`: sends mixed requests to one engine (test/suites/soak.ts),
 * 10,000 by default. The model is stories260K if it is beside the repository, or else
 * $FORETOKEN_TEST_MODEL.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'soak-main.ts')
const flags = ['--disable-warning=ExperimentalWarning', '--expose-gc']
process.exitCode = await run(node, [...flags, main, ...process.argv.slice(2)])
