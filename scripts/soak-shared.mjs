/**
 * `npm run soak:shared -- [ROUNDS] [MODEL]`: 32 and 64 clients at once behind one long system prompt (test/suites/soak-shared.ts), 20
 * rounds by default, with the default model.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'soak-shared.ts')
process.exitCode = await run(node, ['--disable-warning=ExperimentalWarning', main, ...process.argv.slice(2)])
