/**
 * `npm run check:words -- [PAIRS]`: whether the times of one tenant's requests tell which words another has sent (test/suites/word-timing.ts),
 * over 200 pairs by default. Exit 1 where they do.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'word-timing-main.ts')
process.exitCode = await run(node, ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)])
