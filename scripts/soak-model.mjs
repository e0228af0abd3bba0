/**
 * `npm run soak:model -- [COMMANDS] [SEED]`: sends random commands to the scheduler
 * (test/suites/scheduler-model.ts), 100,000 by default. A failure prints the shortest commands that
 * reproduce it, and the seed. Needs no model.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'scheduler-model-main.ts')
process.exitCode = await run(node, ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)])
