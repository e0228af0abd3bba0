/**
 * `npm run fuzz:wire -- [INPUTS] [SECONDS] [SEED]`: hostile streams of K and V (test/suites/wire-fuzz.ts), 10 million or 10 minutes by
 * default. Exit 1, with the seed, for what must not happen.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'wire-fuzz-main.ts')
process.exitCode = await run(node, ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)])
