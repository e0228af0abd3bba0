/**
 * `npm run check:words -- [PAIRS]`: checks that the timing of one tenant's requests does not reveal
 * which words another has sent (test/suites/word-timing.ts), over 200 pairs by default. Exits with
 * 1 if it does.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'word-timing-main.ts')
process.exitCode = await run(node, ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)])
