/**
 * `npm run faults -- [FAILURES] [SEED]`: a companion that fails at random bytes and times (test/suites/faults.ts), 2,000 times by default.
 * Exit 1, with the seed and the failure, if a token is lost, comes twice or differs.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'faults-main.ts')
process.exitCode = await run(node, ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)])
