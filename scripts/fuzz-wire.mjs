/**
 * `npm run fuzz:wire -- [INPUTS] [SECONDS] [SEED]`: sends hostile streams of K and V
 * (test/suites/wire-fuzz.ts), 10 million or for 10 minutes by default. Prints the seed and exits
 * with 1 on a failure.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'wire-fuzz-main.ts')
process.exitCode = await run(node, ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)])
