/**
 * `npm run soak:serve -- [REQUESTS] [--minutes N] [--clients N] [--model NAME] [--seed N]`: sends
 * requests to Node's server, 20,000 by default; clients abandon a fifth of them and stop reading a
 * tenth (test/suites/soak-serve.ts). The default model is a tiny random one.
 */
import { join } from 'node:path'
import { root, run, setup } from './setup.mjs'

const node = setup()
const main = join(root, 'test', 'suites', 'soak-serve.ts')
const flags = ['--disable-warning=ExperimentalWarning', '--expose-gc']
process.exitCode = await run(node, [...flags, main, ...process.argv.slice(2)])
