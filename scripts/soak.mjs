/**
 * `npm run soak -- [REQUESTS] [SEED]`: thousands of mixed requests on one engine (test/suites/soak.ts), 10,000 by default. The
 * model is stories260K if it lies beside the repository, else the one in FORETOKEN_TEST_MODEL.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'soak-main.ts')
const flags = ['--disable-warning=ExperimentalWarning', '--expose-gc']
process.exitCode = await run(node, [...flags, main, ...process.argv.slice(2)])
